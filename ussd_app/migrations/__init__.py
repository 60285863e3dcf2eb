"""The database's shape, one step a file, applied by alembic in one transaction each."""

from pathlib import Path

from alembic import command
from alembic.config import Config


def upgrade(url: str, to: str = "head") -> None:
    """Bring the database at this SQLAlchemy URL to the newest shape, or to an older one; twice does nothing."""
    command.upgrade(_config(url), to)


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["url"] = url
    return config
