"""The fast engine: the same texts as textworld's, without its repeated work.

Nothing of textworld is patched. Its translator, its planner library and its parsers are used as
they are, once for each game; what it computes again at every reset and step is done here instead.
What each part saves:

============================  ====================================================================
part                          textworld 1.7.0
============================  ====================================================================
``translation``               translates each problem four times an episode, twice for a planner
                              that nobody asks for; here once, kept in memory and on disk
``grammar_text``              parses a grammar at each load and each template at each use; here
                              once, kept likewise
``grammar_text``              copies the whole context deeply for each symbol; here nothing is
                              copied, since nothing is changed
``fact_base``                 parses each condition at each use and sorts all facts for it; here
                              only those that fit
``fast_environment``          writes every admissible command again at each step; here again only
                              if a fact that it reads has changed
``planner_library``           copies 34 MB of debug symbols for each environment; here 1 MB
============================  ====================================================================

It is used only with the versions and sources that it was compared with (``known_sources``).
"""
