"""ALFWorld without Ray: games, one episode as one object, prompts, actions, the expert.

What plays a game needs the extra ``alfworld`` (``make setup-alfworld``); prompts, actions and
manifests do not. Nothing here imports it before a game is played.
"""
