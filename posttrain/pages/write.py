"""A page is one HTML file with its style, its scripts and its data inside."""

from __future__ import annotations

from importlib.resources import files
from typing import Any


def render(package: str, template: str, **values: Any) -> str:
    """Return the page that `template`, a file of `package`, makes of `values`.

    Every value is escaped. What goes through ``tojson`` is data in which nothing can close a script or be read as HTML.
    In the template ``asset(package, name)`` is a file of ours as it is: a style or a script.
    """
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    environment = Environment(loader=PackageLoader(package, "."), autoescape=True)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.globals["asset"] = lambda package, name: Markup((files(package) / name).read_text(encoding="utf-8"))
    return environment.get_template(template).render(**values)
