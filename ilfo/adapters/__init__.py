"""Imitation rewards for other people's learners.

Each adapter is a module that is imported by its name, so that one library can be used without the others:

* :mod:`ilfo.adapters.labeller`: a plain training loop, as CleanRL's;
* :mod:`ilfo.adapters.stable_baselines3`: a replay buffer for its off-policy algorithms, and a callback that logs;
* :mod:`ilfo.adapters.torchrl`: a transform for replay buffers, collectors and environments;
* :mod:`ilfo.adapters.gymnasium`: an environment whose reward is the imitation reward.

The other way round, :mod:`ilfo.adapters.stable_baselines3_agents` brings that library's networks and updates into
ilfo's loop: the agents ``sb3-sac`` and ``sb3-td3``.
"""
