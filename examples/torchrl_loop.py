"""TorchRL's TD3 learns from one demonstration: python torchrl_loop.py --steps 60000

It takes pip install 'ilfo[torchrl]'.
"""

import argparse

import torch
from tensordict.nn import TensorDictModule, TensorDictSequential
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import GymEnv, TransformedEnv
from torchrl.envs.transforms import DoubleToFloat
from torchrl.modules import MLP, AdditiveGaussianModule, ValueOperator
from torchrl.objectives import SoftUpdate, TD3Loss

from ilfo import demos
from ilfo.adapters.torchrl import ImitationReward
from ilfo.rewards import OptimalTransport

DISCOUNT = 0.99

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=60_000)
parser.add_argument("--random-steps", type=int, default=5000)
parser.add_argument("--updates-per-step", type=float, default=1.0)
args = parser.parse_args()
torch.manual_seed(0)

env = TransformedEnv(GymEnv("HalfCheetah-v5"), DoubleToFloat())
(width,) = env.action_spec.shape
actor = TensorDictModule(
    torch.nn.Sequential(MLP(out_features=width, num_cells=[256, 256]), torch.nn.Tanh()), ["observation"], ["action"]
)
critic = ValueOperator(MLP(out_features=1, num_cells=[256, 256]), in_keys=["observation", "action"])
with torch.no_grad():  # lazy layers take their widths from the first data
    critic(actor(env.fake_tensordict()))
loss = TD3Loss(actor, critic, action_spec=env.action_spec, num_qvalue_nets=2)
loss.make_value_estimator(gamma=DISCOUNT)
targets = SoftUpdate(loss, tau=0.005)
actor_adam = torch.optim.Adam(loss.actor_network_params.flatten_keys().values(), 3e-4)
critic_adam = torch.optim.Adam(loss.qvalue_network_params.flatten_keys().values(), 3e-4)

reward = OptimalTransport().fit(demos.open("halfcheetah"))  # or a file of your own
replay = ReplayBuffer(storage=LazyTensorStorage(args.steps), batch_size=256)
imitation = ImitationReward(reward, discount=DISCOUNT)
replay.append_transform(imitation)  # labels on the way in

collector = Collector(
    env,
    TensorDictSequential(actor, AdditiveGaussianModule(env.action_spec, sigma_init=0.1, sigma_end=0.1)),
    frames_per_batch=100,
    total_frames=args.steps,
    init_random_frames=args.random_steps,
)
updates = 0
for number, data in enumerate(collector, 1):
    replay.extend(data)  # holds the episode back until it ends
    if metrics := imitation.read_metrics():  # where one has ended
        print(f"step {number * 100}: imitation return {metrics['imitation_return']:.1f}")
    if number * 100 <= args.random_steps or not len(replay):
        continue
    for _ in range(int(100 * args.updates_per_step)):
        batch, updates = replay.sample(), updates + 1
        critic_adam.zero_grad()
        loss.value_loss(batch)[0].backward()
        critic_adam.step()
        if updates % 2 == 0:
            actor_adam.zero_grad()
            loss.actor_loss(batch)[0].backward()
            actor_adam.step()
            targets.step()
print(f"{len(replay)} transitions have imitation rewards, {updates} updates")
