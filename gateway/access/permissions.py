"""Who may ask for what: one table of every route, the roles that may use it, and whether a read-only token may.

What is not in the table is refused, and an application with a route that is not in it does not start. Which sessions an
account sees, and so may cancel, follows from its organisation (`principal.py`) and is asked of the coordinator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from re import Pattern
from types import MappingProxyType
from typing import Any, Final

from starlette.routing import compile_path

from gateway.access.principal import CONSORTIUM, ROLES, Principal, Role
from gateway.errors import Forbidden, NoSuchMethod, NotFound
from parties.errors import SettingsError

OF_PROGRAMS: Final = ("/v1/", "/metrics", "/openapi.json")  # how their paths begin


@dataclass(frozen=True)
class Rule:
    """Of one route. `changes`: whether using it changes anything, which a read-only token may not.

    `of_consortium`: for those who run the gateway alone, as it tells of all organisations together.
    """

    roles: frozenset[Role]
    changes: bool = False
    is_open: bool = False  # to strangers
    of_consortium: bool = False

    def allows(self, principal: Principal) -> bool:
        """Whether a page may offer it."""
        return self._admits(principal) and not (self.changes and principal.is_read_only)

    def _admits(self, principal: Principal) -> bool:
        return principal.role in self.roles and (not self.of_consortium or principal.organisation == CONSORTIUM)

    def check(self, principal: Principal) -> None:
        """Raises: Forbidden."""
        if not self._admits(principal):
            may = " or ".join(role for role in ROLES if role in self.roles)
            whose = f" of {CONSORTIUM}" if self.of_consortium else ""
            raise Forbidden(f"your role, {principal.role}, may not do this", action=f"it takes the role {may}{whose}")
        if self.changes and principal.is_read_only:
            raise Forbidden("your token is for reading alone", action="use one that is not")


def _open() -> Rule:
    return Rule(frozenset(), is_open=True)


def _reads(*roles: Role) -> Rule:
    return Rule(frozenset(roles or ROLES))


def _oversees(*roles: Role) -> Rule:
    return Rule(frozenset(roles), of_consortium=True)


def _changes(*roles: Role) -> Rule:
    return Rule(frozenset(roles or ROLES), changes=True)


TABLE: Final[Mapping[tuple[str, str], Rule]] = MappingProxyType(
    {
        ("GET", "/v1/health"): _open(),
        ("GET", "/openapi.json"): _open(),
        ("GET", "/login"): _open(),
        ("GET", "/oidc/login"): _open(),
        ("GET", "/oidc/callback"): _open(),
        ("GET", "/static/console.css"): _open(),
        ("GET", "/favicon.ico"): _open(),  # which browsers ask for by themselves
        ("POST", "/v1/plans:estimate"): _reads(),
        ("POST", "/v1/sessions"): _changes("analyst", "admin"),
        ("GET", "/v1/sessions"): _reads(),
        ("GET", "/v1/sessions/{session}"): _reads(),
        ("GET", "/v1/sessions/{session}/contract"): _reads(),
        ("GET", "/v1/sessions/{session}/approvals"): _reads(),
        ("GET", "/v1/sessions/{session}/plan"): _reads(),
        ("GET", "/v1/sessions/{session}/events"): _reads(),
        ("POST", "/v1/sessions/{session}/cancel"): _changes("analyst", "operator", "admin"),
        ("GET", "/v1/sessions/{session}/log"): _reads(),
        ("GET", "/v1/sessions/{session}/log/{entry}"): _reads(),
        ("GET", "/v1/participants"): _reads(),
        ("GET", "/v1/log/head"): _reads(),
        ("GET", "/metrics"): _oversees("operator", "admin"),
        ("GET", "/v1/me"): _reads(),
        ("GET", "/v1/tokens"): _reads(),
        ("POST", "/v1/tokens"): _changes(),
        ("DELETE", "/v1/tokens/{token}"): _changes(),
        ("POST", "/v1/logins"): _reads(),  # the login may do what the token may, no more
        ("POST", "/logout"): _reads(),
        ("GET", "/"): _reads(),
        ("GET", "/sessions/{session}"): _reads(),
        ("GET", "/sessions/{session}/live"): _reads(),
        ("GET", "/sessions/{session}/report"): _reads(),
        ("POST", "/sessions/{session}/cancel"): _changes("analyst", "operator", "admin"),
        ("GET", "/propose"): _reads("analyst", "admin"),
        ("POST", "/propose/review"): _reads("analyst", "admin"),
        ("POST", "/propose/edit"): _reads("analyst", "admin"),
        ("POST", "/propose"): _changes("analyst", "admin"),
        ("GET", "/participants"): _reads(),
        ("GET", "/audit"): _reads(),
        ("GET", "/tokens"): _reads(),
        ("POST", "/tokens"): _changes(),
        ("POST", "/tokens/{token}/revoke"): _changes(),
        ("GET", "/static/{name}"): _reads(),
    }
)


def allowed(principal: Principal) -> tuple[str, ...]:
    """Method and path of each route that this account may use as a program does; pages are left out."""
    return tuple(
        f"{method} {path}"
        for (method, path), rule in TABLE.items()
        if path.startswith(OF_PROGRAMS) and (rule.is_open or rule.allows(principal))
    )


class Permissions:
    """The table, asked by path as it comes."""

    def __init__(self, table: Mapping[tuple[str, str], Rule] = TABLE) -> None:
        self._table = table
        paths = {path for _, path in table}
        self._plain = {path for path in paths if "{" not in path}
        templates = sorted(paths - self._plain, key=lambda path: path.count("{"))
        self._patterns: list[tuple[Pattern[str], str]] = [(compile_path(path)[0], path) for path in templates]

    def is_open(self, method: str, path: str) -> bool:
        """Whether strangers may ask for this."""
        found = self._find(method, path)
        return isinstance(found, Rule) and found.is_open

    def check(self, principal: Principal, method: str, path: str) -> None:
        """That the role may. Raises: Forbidden; NotFound and NoSuchMethod for what is in no table."""
        found = self._find(method, path)
        if isinstance(found, Rule):
            found.check(principal)
        elif found:
            raise NoSuchMethod(listed for listed, template in self._table if template in found)
        else:
            raise NotFound("there is nothing at this path", action="see /openapi.json for what there is")

    def _find(self, method: str, path: str) -> Rule | list[str]:
        """The rule of the route that this is a request for; without one, the templates that the path fits."""
        known = [path] if path in self._plain else []  # as routers: a name first
        known += [template for pattern, template in self._patterns if pattern.match(path)]
        for template in known:
            if found := self._table.get((method, template)):
                return found
        return known

    def check_routes(self, routes: Any) -> None:
        """That table and application have the same routes. Raises: SettingsError."""
        served = set(routes_of(routes))
        for what, found in {
            "has no rule of who may use it": served - set(self._table),
            "has a rule, and is not served": set(self._table) - served,
        }.items():
            if found:
                listed = ", ".join(f"{method} {path}" for method, path in sorted(found))
                raise SettingsError(f"a route {what}: {listed}", action="mend gateway/access/permissions.py")


def routes_of(routes: Any) -> Iterator[tuple[str, str]]:
    """Method and path of each route, those of included routers too."""
    for route in all_routes(routes):
        yield from ((method, route.path) for method in route.methods - {"HEAD"})


def all_routes(routes: Any) -> Iterator[Any]:
    """Routes, and those of included routers."""
    for route in routes:
        if hasattr(route, "original_router"):
            yield from all_routes(route.original_router.routes)
        else:
            yield route
