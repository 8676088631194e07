"""Stable-Baselines3's SAC learns from one demonstration: python stable_baselines3_sac.py --steps 100000

It takes pip install 'ilfo[sb3]'. TD3, DDPG, TQC and whatever else has a replay buffer are trained in the same way.
"""

import argparse

from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from ilfo import demos
from ilfo.adapters.stable_baselines3 import ImitationCallback, ImitationReplayBuffer
from ilfo.rewards import OptimalTransport

ENV, NUM_ENVS, DISCOUNT = "HalfCheetah-v5", 1, 0.99

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=100_000)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

expert = demos.open("halfcheetah")  # or a file of your own
model = SAC(
    "MlpPolicy",
    make_vec_env(ENV, NUM_ENVS, seed=args.seed),
    gamma=DISCOUNT,
    learning_starts=1000 * NUM_ENVS,  # rewards come when an episode ends, here after 1000 steps
    replay_buffer_class=ImitationReplayBuffer,
    replay_buffer_kwargs={"reward": OptimalTransport().fit(expert), "discount": DISCOUNT},
    device="cpu",
    seed=args.seed,
    verbose=1,  # prints a table after each episode, with imitation/imitation_return
)
model.learn(args.steps, callback=ImitationCallback(), log_interval=1)
print(f"{model.replay_buffer.size()} transitions have imitation rewards")

# By the environment's own reward, which training never looked at.
found, _ = evaluate_policy(model, make_vec_env(ENV), n_eval_episodes=1)
print(f"policy's return {found:.1f} of the expert's {expert.expert_return:.1f}")
