# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration: one TOML file, every key overridable by VOXDP_SECTION__KEY; unknown keys are refused."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from ctl.config_values import (
    Interface,
    Ip,
    Listen,
    Network,
    NgListen,
    Seconds,
    SipListen,
    host_port,
)
from ctl.configfile import DEFAULT_PATH, ConfigError, read_tables
from ctl.queues.section import QueuesSection
from ctl.section import Section
from ctl.sessions.playback_section import PlaybackKeys
from ctl.webhooks.section import WebhooksSection
from media.recording_settings import parse_destination
from sip.settings import DiversionPolicy
from sip.steering import MAX_WORKERS

RELAY_ADDRESSES = 8  # as in bpf/flow.h
OTHER_VARIABLES = {"VOXDP_CONFIG", "VOXDP_CORPUS"}


class Certificate(Section):
    """A certificate for connections that ask for one of these host names (SNI)."""

    hosts: Annotated[tuple[str, ...], Field(min_length=1)]
    certificate: Path
    key: Path


class TlsSection(Section):
    """TLS for `tls:` and `wss:`: what we show and whom we believe. Files are read again by `voxdp sip reload`."""

    certificate: Path | None = None
    key: Path | None = None
    names: tuple[Certificate, ...] = ()
    authorities: Path | None = None
    """PEM file of the authorities that peers' certificates must come from; none: the system's."""
    verify_client: Literal["none", "optional", "required"] = "none"


class LimitsSection(Section):
    """What strangers may cost: connections, their time, and requests."""

    connections: Annotated[int, Field(ge=1)] = 10_000
    connections_per_source: Annotated[int, Field(ge=1)] = 64
    handshake: Annotated[float, Field(gt=0)] = 5.0
    message: Annotated[float, Field(gt=0)] = 10.0
    idle: Annotated[float, Field(gt=0)] = 120.0
    requests_per_source: Annotated[float, Field(ge=0)] = 100.0
    """Messages a second from one address, a hundred times as many where users have authenticated from; 0: any."""
    calls_per_user: Annotated[float, Field(ge=0)] = 5.0
    """Calls a second that one user may begin; 0: any."""
    ban: Annotated[float, Field(ge=0)] = 600.0
    """Seconds for which a scanner, or one that only offends, is not heard; 0: everybody is."""


class TrunkSection(Section):
    """A trunk of a host whose trunks are not in the database: where it is, who it is, which numbers it carries."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    domain: Annotated[str, Field(min_length=1)]
    proxies: tuple[str, ...] = ()
    """Where it is reached, as SIP URIs, in the order to try; none: its domain."""
    username: str = ""
    password: SecretStr = SecretStr("")
    realm: str = ""
    registration: bool = False
    expires: Seconds = 3600
    sources: tuple[Network, ...] = ()
    """Networks that its calls come from; none: where it is reached."""
    certificates: tuple[str, ...] = ()
    channels: Annotated[int, Field(ge=0)] = 0
    probe: Annotated[float, Field(ge=0)] = 30.0
    """Seconds between OPTIONS that ask whether it is there; 0: it is not asked."""
    trusted: bool = False
    refer: bool = False
    from_user: str = ""
    dial: tuple[str, ...] = ()
    """Beginnings of the numbers that it carries; of several trunks the first that is listed is tried first."""
    strip: Annotated[int, Field(ge=0, le=15)] = 0
    prepend: str = ""
    deliver: str = ""
    """The user who gets its calls to what is no user of ours; none: they are refused."""
    media: str = ""
    """Name of the media interface toward it; empty: what its signalling or its route leads to."""
    latch: bool = False
    """Accept its media from whatever source first sends `media.latch_packets` consistent packets."""
    ice: Literal["remove", "lite", "full"] | None = None
    """Whether ICE is spoken with it; None: as `media.ice` says."""
    srtp: Literal["off", "preferred", "required"] | None = None
    """Whether its media is protected; None: as `media.srtp` says."""
    dtmf: Literal["auto", "rfc4733", "info", "inband"] = "auto"
    """How digits reach it."""

    @model_validator(mode="after")
    def _known(self) -> TrunkSection:
        if self.registration and not self.username:
            raise ValueError("registration needs username and password")
        return self


class SipSection(Section):
    """Signalling: where we listen, whom we serve, how registrations expire."""

    listen: tuple[SipListen, ...] = ("127.0.0.1:5060",)
    """None: no signalling of ours, media for proxies alone, see NgSection."""
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = 1
    """Processes that share the signalling."""
    domain: str = "localhost"
    algorithms: tuple[Literal["SHA-256", "MD5"], ...] = ("SHA-256", "MD5")
    min_expires: Seconds = 60
    default_expires: Seconds = 3600
    max_expires: Seconds = 7200
    tls: TlsSection = TlsSection()
    origins: tuple[str, ...] = ()
    """Web pages that may connect by WebSocket, as `https://phone.example.org`; none: any."""
    limits: LimitsSection = LimitsSection()
    drain: Annotated[float, Field(ge=0)] = 0.0
    """Seconds that calls are given to end when we are stopped; 0: the next controller takes them up."""
    trunks: tuple[TrunkSection, ...] = ()
    session_expires: Annotated[int, Field(ge=0)] = 1800
    """Seconds of session timers (RFC 4028) at most; 0: none are used."""
    min_session_expires: Annotated[int, Field(ge=90)] = 90
    redirections: Annotated[int, Field(ge=0, le=10)] = 0
    """How many redirections of one call are followed."""
    diversion: DiversionPolicy = "all"
    """Who is told that a call was sent on (RFC 5806): nobody, trunks that are trusted, or these and users."""
    nat_keepalive: Annotated[int, Field(ge=0, le=3600)] = 25
    """Seconds between OPTIONS to phones behind NAT, and of silence until those that connected are asked by TCP whether
    they are there, so that their way stays open; 0: none are asked."""
    info: tuple[Annotated[str, Field(pattern=r"^(\*|[a-z0-9.+_-]+/[a-z0-9.+_-]+)$")], ...] = (
        "application/dtmf-relay",
        "application/dtmf",
        "application/media_control+xml",
    )
    """Types of body that an INFO may bring to the other party; a star takes all."""
    pass_headers: tuple[str, ...] = ()
    """Headers of an INVITE that reach the callee beside the usual ones; a star at the end takes all that begin so."""

    @model_validator(mode="after")
    def _ordered(self) -> SipSection:
        if not self.min_expires <= self.default_expires <= self.max_expires:
            raise ValueError("min_expires <= default_expires <= max_expires must hold")
        if len({trunk.name for trunk in self.trunks}) < len(self.trunks):
            raise ValueError("two trunks have the same name")
        if self.secure and not (self.tls.certificate and self.tls.key):
            raise ValueError("tls: and wss: need sip.tls.certificate and sip.tls.key")
        return self

    @property
    def secure(self) -> bool:
        """Whether anything is listened on by TLS."""
        return any(listen.startswith(("tls:", "wss:")) for listen in self.listen)


class MediaInterface(Section):
    """An address of ours under a name; several addresses, as one of each family, may share one.

    advertised: what peers are told instead, where a router before us translates addresses one to one. signalling:
    addresses that SIP listens on; who signals to one of them has its media here.
    """

    name: Annotated[str, Field(min_length=1, max_length=63)]
    address: Ip
    advertised: Ip | None = None
    signalling: tuple[Ip, ...] = ()

    @model_validator(mode="after")
    def _one_family(self) -> MediaInterface:
        if self.advertised and (":" in self.advertised) != (":" in self.address):
            raise ValueError("address and advertised must be of one family")
        return self


class MediaSection(PlaybackKeys):
    """The relay addresses that peers send media to, the ports on them, and what calls may do."""

    addresses: tuple[Ip, ...] = ()
    """Relay addresses without a name; which one a party gets, routes decide."""
    interfaces: tuple[MediaInterface, ...] = ()
    """Relay addresses by name."""
    default: str = ""
    """Name of the interface that is taken where nothing says another; empty: routes decide."""
    police: Annotated[float, Field(ge=0)] = 3.0
    """How many times its codec's packets one direction of audio may carry; 0: any number."""
    latch_packets: Annotated[int, Field(ge=1, le=255)] = 5
    """How many consistent packets bind a flow whose source is free; only where a trunk asks for it."""
    port_min: Annotated[int, Field(ge=1024, le=65534)] = 16384
    port_max: Annotated[int, Field(ge=1025, le=65535)] = 32767
    quarantine: Annotated[float, Field(ge=0)] = 60.0
    transcode: tuple[Literal["PCMU", "PCMA", "G722", "G729", "opus"], ...] = ()
    """Codecs that callees are offered beside the caller's; one that both have is preferred. None: no transcoding."""
    timeout: Annotated[float, Field(ge=0)] = 120.0
    """Seconds without a packet after which a call is ended; 0: never."""
    engine_io: Literal["auto", "sockets", "af_xdp"] = "auto"
    """How packets reach the engine: by a UDP socket of each flow, or by AF_XDP where the relay is attached. auto: by
    AF_XDP where the relay is attached natively and the sockets can be had, and no complaint where not."""
    srtp: Literal["off", "preferred", "required"] = "preferred"
    """off: RTP alone. preferred: SRTP with each party that wants it. required: SRTP with both, or no call. Of all
    parties but those whose tenant or trunk says another."""
    ice: Literal["remove", "lite", "full"] = "remove"
    """remove: no ICE. lite: checks are answered. full: and made. Of all parties but those that say another."""
    ice_web: Literal["remove", "lite", "full"] = "lite"
    """The same of users who signal by WebSocket: browsers send no media without it."""
    hold_timeout: Annotated[float, Field(ge=0)] = 3600.0
    """The same while a party holds the call: then silence is what both want."""

    @model_validator(mode="after")
    def _ordered(self) -> MediaSection:
        if self.port_min >= self.port_max:
            raise ValueError("port_min must be below port_max")
        names = {each.name for each in self.interfaces}
        if self.default and self.default not in names:
            raise ValueError(f"default names no interface; there are {', '.join(sorted(names)) or 'none'}")
        addresses = [*self.addresses, *(each.address for each in self.interfaces)]
        if len(set(addresses)) < len(addresses) or len(addresses) > RELAY_ADDRESSES:
            raise ValueError(f"give at most {RELAY_ADDRESSES} relay addresses, none of them twice")
        return self


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


class RecordingSection(Section):
    """Recordings of calls: on demand or of every call, kept in a folder or in S3, sealed by keys of tenants."""

    policy: Literal["on-demand", "all"] = "on-demand"
    consent: Literal["required", "not-needed"] = "required"
    """required: whoever starts a recording says how the parties agreed to it."""
    layout: Literal["stereo", "mixed", "a", "b"] = "stereo"
    format: Literal["wav", "opus"] = "wav"
    rate: Literal[8000, 16000, 48000] = 8000
    directory: Path | None = None
    """Of recordings under way; None: `recordings` in run.state."""
    url: str = ""
    """Where they are kept: file:///folder or s3://bucket/prefix; empty: `store` in the directory."""
    key_file: Path | None = None
    """Lines of a tenant, or none for all others, and 64 hex digits; the first of a tenant seals, all of them open."""
    key: SecretStr | None = None
    """The same in place of a file, for VOXDP_RECORDING__KEY."""
    forward_to: str = ""
    """Who gets sound while it is said, where proxies ask for that: tcp://127.0.0.1:9000, or tls:// and any address."""
    forward_ca: Path | None = None
    """Certificates that sign that of the consumer; None: those that the host trusts."""

    @field_validator("forward_to")
    @classmethod
    def _forwardable(cls, value: str) -> str:
        if value:
            scheme, address, _ = parse_destination(value)
            if scheme == "tcp" and not ipaddress.ip_address(address).is_loopback:
                raise ValueError("sound leaves the host by tls:// alone")
        return value

    @model_validator(mode="after")
    def _agreed(self) -> RecordingSection:
        if self.policy == "all" and self.consent == "required":
            raise ValueError('policy "all" asks nobody: set consent to "not-needed", or record on demand')
        return self


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


class NgSection(Section):
    """The ng protocol, by which proxies drive the relay: where it is served, to whom, and its limits."""

    listen: tuple[NgListen, ...] = ()
    """UDP."""
    listen_tcp: tuple[NgListen, ...] = ()
    listen_http: tuple[NgListen, ...] = ()
    """HTTP and WebSocket."""
    allow: tuple[Network, ...] = ()
    secret_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    delete_delay: Annotated[int, Field(ge=0)] = 30
    max_sessions: Annotated[int, Field(ge=0)] = 0
    load_limit: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Part of the media ports in use from which on new calls are sent elsewhere."""
    tos: Annotated[int, Field(ge=-1, le=255)] = -1
    """Of all packets of calls for which a proxy names none; -1: as they came."""
    tenant: str = ""
    """Whose calls these are where the proxy does not say it; empty: the first tenant's."""
    dtmf_log: tuple[NgListen, ...] = ()
    """Who is told by UDP of each digit that is dialled."""

    @model_validator(mode="after")
    def _guarded(self) -> NgSection:
        """Whoever speaks ng can have calls copied or cut off, and it knows no authentication of its own."""
        if _beyond_loopback(self.listen) and not (self.allow and self.secret_file):
            raise ValueError("listen beyond loopback needs allow = [networks of the proxies] and secret_file")
        certified = self.allow and self.certificate and self.key and self.client_ca
        if _beyond_loopback((*self.listen_tcp, *self.listen_http)) and not certified:
            raise ValueError(
                "listen_tcp and listen_http beyond loopback need allow = [networks], certificate, key and client_ca"
            )
        return self


def _beyond_loopback(listen: tuple[str, ...]) -> bool:
    hosts = (host_port(text)[0].removeprefix("[").removesuffix("]") for text in listen)
    return any(not ipaddress.ip_address(host).is_loopback for host in hosts)


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
        raise ConfigError(f"{path or DEFAULT_PATH}: {_first(error)}") from None
    except SettingsError as error:
        raise ConfigError(f'environment: {error}; lists are written as JSON, such as \'["a", "b"]\'') from None


def _refuse_unknown_variables() -> None:
    sections = tuple(f"VOXDP_{name.upper()}__" for name in Config.model_fields)
    for name in os.environ:
        if name.startswith("VOXDP_") and name not in OTHER_VARIABLES and not name.startswith(sections):
            raise ConfigError(f"environment: {name} is no key of the configuration; see: voxdp config show")


def _first(error: ValidationError) -> str:
    """Describe the first thing that is wrong in one line."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "configuration"
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key; known are {', '.join(_siblings(first['loc']))}"
    return f"{key}: {first['msg'].removeprefix('Value error, ')}"


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
