"""An environment that pays imitation rewards, for any learner, here PPO: python gymnasium_wrapper.py --steps 200000

The wrapper takes rewards that need no more than transitions; PPO takes pip install 'ilfo[sb3]'.
"""

import argparse

import gymnasium
from stable_baselines3 import PPO

from ilfo import demos
from ilfo.adapters.gymnasium import ImitationRewardWrapper
from ilfo.rewards import NearestStep

ENV, DISCOUNT = "HalfCheetah-v5", 0.99

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200_000)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

expert = demos.open("halfcheetah")  # or a file of your own
reward = NearestStep().fit(expert)
env = ImitationRewardWrapper(gymnasium.make(ENV), reward, discount=DISCOUNT)
model = PPO("MlpPolicy", env, gamma=DISCOUNT, n_steps=1000, batch_size=100, device="cpu", seed=args.seed)
model.learn(args.steps)

observation, _ = env.reset(seed=args.seed)
env_return, truncated = 0.0, False
while not truncated:  # this environment has a time limit and no other end
    action, _ = model.predict(observation, deterministic=True)
    observation, _, _, truncated, info = env.step(action)
    env_return += info["env_reward"]
print(f"imitation return {info['imitation']['imitation_return']:.1f}")  # of the episode that this step ended
print(f"policy's return {env_return:.1f} of the expert's {expert.expert_return:.1f}")
