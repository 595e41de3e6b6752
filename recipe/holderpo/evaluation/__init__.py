"""What `recipe.holderpo.evaluate` consists of: model, data, plan, generation, answers."""
