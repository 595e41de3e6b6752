"""Files that exist, so that only what a test changes is wrong."""

import pytest

from tests.alfworld_games import generated_games
from tests.recipe.data_files import write_data

__all__ = ["existing", "generated_games"]


@pytest.fixture(scope="package")
def existing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("existing")
    write_data(folder)
    return [
        f"data.train_files={folder}/train.parquet",
        f"data.val_files={folder}/heldout.parquet",
        f"actor_rollout_ref.model.path={folder}/model",
    ]
