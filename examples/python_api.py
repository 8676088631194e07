"""Demonstration, reward, training and evaluation from Python: python python_api.py"""

from ilfo import demos
from ilfo.envs import random_policy, rollout
from ilfo.evaluate import evaluate
from ilfo.rewards import Episodes, OptimalTransport
from ilfo.train import train
from ilfo.training import make_config

NAME, ENV, OUT = "halfcheetah", "HalfCheetah-v5", "runs/python-api"

expert = demos.open(NAME)
reward = OptimalTransport().fit(expert)
episodes = {
    "expert": list(expert),
    "expert, shuffled": [demos.shuffled(trajectory) for trajectory in expert],
    "random policy": rollout(random_policy(action_dim=6, seed=0), ENV, episodes=5),
}
for name, trajectories in episodes.items():
    scores = reward.score(Episodes.from_trajectories(trajectories))  # (B, T), 0 beyond an episode's end
    print(f"{name:<18}imitation return {float(scores.sum(dim=1).mean()):8.1f}")

settings = {"env": ENV, "demo": NAME, "out": OUT, "steps": 1500, "random_steps": 1000, "eval_episodes": 2}
summary = train(make_config(settings))  # a few seconds, enough to see it run; the quick start takes 60,000 steps
print(f"policy's return   {summary['policy_return']:.1f} of the expert's {summary['expert_return']:.1f}")
print(f"fresh episodes    {evaluate(OUT, episodes=3).return_text}")
