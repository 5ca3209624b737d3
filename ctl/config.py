# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration: one TOML file, every key overridable by VOXDP_SECTION__KEY; unknown keys are refused.

Longer tables stand where their concern is.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from ctl.config_values import Interface, Listen
from ctl.configfile import DEFAULT_PATH, ConfigError, read_tables
from ctl.ng.section import NgSection
from ctl.queues.section import QueuesSection
from ctl.recording.section import RecordingSection
from ctl.section import Section
from ctl.sessions.section import MediaSection
from ctl.signalling.section import SipSection
from ctl.webhooks.section import WebhooksSection

OTHER_VARIABLES = {"VOXDP_CONFIG", "VOXDP_CORPUS", "VOXDP_PLAIN"}


class XdpSection(Section):
    """The kernel relay: where it is attached and pinned, and who may program it."""

    mode: Literal["native", "generic", "off"] = "native"
    interfaces: tuple[Interface, ...] = ()
    bpffs: Path = Path("/sys/fs/bpf")
    owner: str = ""
    unmatched_rate: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Packets per second that the host gets of one source to a relay address though they are no flow's; 0: all."""
    unmatched_burst: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """The same at once; 0: as many as in one second."""


class DatabaseSection(Section):
    """PostgreSQL: a server by `url`, or else the embedded one in `directory`; and the key that seals secrets in it."""

    url: str = ""
    directory: Path = Path("/var/lib/voxdp/postgresql")
    binaries: Path | None = None
    os_user: str = "postgres"
    key_file: Path | None = None
    """64 hex digits a line, the first in use; None: `database.key` in run.state, made at the first start."""
    key: SecretStr | None = None
    """The same lines in place of a file, for VOXDP_DATABASE__KEY."""

    @field_validator("url")
    @classmethod
    def _connection_string(cls, url: str) -> str:
        """Refuse what psycopg cannot take apart; whoever reads why is not to read the password."""
        if not url:
            return url
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict

        try:
            conninfo_to_dict(url)
        except ProgrammingError:
            raise ValueError("is no connection string, such as postgresql://USER:PASSWORD@HOST/DATABASE") from None
        return url


class RunSection(Section):
    """Directories: `directory` for sockets (lost at boot), `state` for journals (kept)."""

    directory: Path = Path("/run/voxdp")
    state: Path = Path("/var/lib/voxdp")


class ApiSection(Section):
    """HTTP: health and metrics."""

    listen: Listen = "127.0.0.1:8080"


class RestSection(Section):
    """The REST API: where it is served, with which certificate, and who else may log accounts in."""

    listen: Listen | Literal[""] = "127.0.0.1:8081"
    """Empty: nowhere."""
    certificate: Path | None = None
    key: Path | None = None
    oidc_issuer: str = ""
    oidc_client_id: str = "voxdp"
    oidc_client_secret_file: Path | None = None
    oidc_redirect: str = ""
    """The URL of /api/v1/auth/oidc/callback as browsers see it."""

    @model_validator(mode="after")
    def _protected(self) -> RestSection:
        host = self.listen.rpartition(":")[0].strip("[]")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        if host and self.certificate is None and not ipaddress.ip_address(host).is_loopback:
            raise ValueError("passwords would pass in clear: set certificate and key, or listen on 127.0.0.1")
        if self.oidc_issuer and not (self.oidc_redirect and self.oidc_client_secret_file):
            raise ValueError("oidc_issuer needs oidc_redirect and oidc_client_secret_file")
        return self


class LogSection(Section):
    """What is logged to standard error, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "text"


class Config(BaseSettings):
    """The whole configuration; environment beats file beats default."""

    model_config = SettingsConfigDict(env_prefix="VOXDP_", env_nested_delimiter="__", extra="forbid", frozen=True)

    sip: SipSection = SipSection()
    media: MediaSection = MediaSection()
    xdp: XdpSection = XdpSection()
    database: DatabaseSection = DatabaseSection()
    recording: RecordingSection = RecordingSection()
    run: RunSection = RunSection()
    api: ApiSection = ApiSection()
    rest: RestSection = RestSection()
    ng: NgSection = NgSection()
    queues: QueuesSection = QueuesSection()
    webhooks: WebhooksSection = WebhooksSection()
    log: LogSection = LogSection()

    @model_validator(mode="after")
    def _interfaces_known(self) -> Config:
        names = {each.name for each in self.media.interfaces}
        for trunk in self.sip.trunks:
            if trunk.media and trunk.media not in names:
                known = ", ".join(sorted(names)) or "none"
                raise ValueError(f"sip.trunks: {trunk.name} names media interface {trunk.media}; there are {known}")
        return self

    @model_validator(mode="after")
    def _somebody_is_heard(self) -> Config:
        if not (self.sip.listen or self.ng.listen or self.ng.listen_tcp or self.ng.listen_http):
            raise ValueError("sip.listen is empty and [ng] listens nowhere: nobody could reach this host")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the environment and the file given to `load`."""
        return env_settings, init_settings


def load(path: Path | None = None) -> Config:
    """Read the file at `path`, or /etc/voxdp/voxdp.toml where that exists, and the environment.

    Raises ConfigError.
    """
    tables = read_tables(path)
    _refuse_unknown_variables()
    try:
        return Config(**tables)
    except ValidationError as error:
        raise ConfigError(_first(error, path or DEFAULT_PATH)) from None
    except SettingsError as error:
        raise ConfigError(f'environment: {_unread(error)}; lists are written as JSON, such as \'["a", "b"]\'') from None


def _refuse_unknown_variables() -> None:
    sections = tuple(f"VOXDP_{name.upper()}__" for name in Config.model_fields)
    for name in os.environ:
        if name.startswith("VOXDP_") and name not in OTHER_VARIABLES and not name.startswith(sections):
            raise ConfigError(f"environment: {name} is no key of the configuration; see: voxdp config show")


def _first(error: ValidationError, path: Path) -> str:
    """Describe in one line the first thing that is wrong; a mistyped key rather than the one it leaves out."""
    errors = error.errors(include_url=False)
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    key = ".".join(str(part) for part in first["loc"]) or "configuration"
    place = f"environment: {variable}" if (variable := _variable(first["loc"])) else f"{path}: {key}"
    match first["type"]:
        case "extra_forbidden":
            return f"{place}: unknown key; {_meant(str(first['loc'][-1]), _siblings(first['loc']))}"
        case "tuple_type":
            return f'{place}: is to be a list, in brackets, such as ["a", "b"]'
        case "model_type" | "dict_type":
            return f"{place}: is to be a table, such as [{key}]"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def _variable(location: tuple[Any, ...]) -> str | None:
    """Return the variable of the environment that sets the key, or what the key stands in, if there is one."""
    names = {name.upper(): name for name in os.environ}
    parts = [str(part).upper() for part in location]
    return next(
        (names[each] for n in range(len(parts), 1, -1) if (each := "VOXDP_" + "__".join(parts[:n])) in names), None
    )


def _unread(error: SettingsError) -> str:
    """Name the variable whose text is no JSON."""
    text = getattr(error.__cause__, "doc", None)
    return next(
        (f"{name} cannot be read" for name, value in os.environ.items() if value == text and "__" in name), str(error)
    )


def _meant(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def _siblings(location: tuple[Any, ...]) -> list[str]:
    model: Any = Config
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        model = next(iter(get_args(annotation)), annotation)
    return sorted(model.model_fields)


def redacted(config: Config) -> dict[str, dict[str, Any]]:
    """Return {section: {key: value}} fit to be shown: the password of a database URL is replaced."""
    tables = config.model_dump(mode="json")
    tables["database"]["url"] = re.sub(r"(?<=:)[^:/@]*(?=@)", "***", tables["database"]["url"])
    return tables
