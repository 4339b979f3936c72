"""Sphinx extension: which version and commit a book is, and a button that runs a chapter where that is possible.

* The footer of every page ends with the version, and with the commit if the book is built in a clone and git is at
  hand; files that differ from it are mentioned.
* The buttons that open a chapter on Binder and on Colab are there if ``_config.yml`` has the repository's address, that
  for Colab if it is on GitHub. They open the branch that is named there: the chapters as plain notebooks.
"""

import os
import subprocess
from pathlib import Path

import logitmoe


def commit(folder):
    """The commit of a clone, with "-dirty" behind it if files differ from it; empty if `folder` is no clone."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    here = {**os.environ, "GIT_CEILING_DIRECTORIES": str(Path(folder).resolve().parent)}  # no repository around it
    try:
        return subprocess.run(command, cwd=folder, env=here, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def file_in_repository(app, path):
    """The address of a file at the commit of the build; empty if ``_config.yml`` has no address of the repository."""
    options = app.config.html_theme_options
    url, branch = options.get("repository_url"), options.get("repository_branch") or "main"
    at = commit(app.srcdir).removesuffix("-dirty") or branch
    return f"{url.rstrip('/')}/blob/{at}/{path}" if url else ""


def add_version(app, config):
    """Put version and commit at the end of the footer that _config.yml gives."""
    said = f"Version {logitmoe.__version__}"
    found = commit(app.srcdir)
    if found:
        said += f", commit <code>{found.removesuffix('-dirty')}</code>"
        said += " with changes" if found.endswith("-dirty") else ""
    options = config.html_theme_options
    options["extra_footer"] = f"{options.get('extra_footer', '')} {said}.".strip()


def drop_buttons(app, config):
    """Without an address there is nothing that the buttons could open, and the theme would fail."""
    url = config.html_theme_options.get("repository_url")
    if not url:
        config.html_theme_options.pop("launch_buttons", None)
    elif "github.com/" not in url:
        config.html_theme_options.get("launch_buttons", {}).pop("colab_url", None)


def setup(app):
    app.connect("config-inited", add_version)
    app.connect("config-inited", drop_buttons)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
