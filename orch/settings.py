"""Settings: ``orch.toml`` < ``ORCH_*`` environment < arguments.

Times are seconds here (people write them); the journal counts in milliseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SecretStr,
    SkipValidation,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from orch.areas import AREAS
from orch.breaker import Breaker
from orch.budget import Budget
from orch.errors import ErrorClass, SettingsError
from orch.fallback import Fallback
from orch.hooks import Hook
from orch.limits import Limit, check_capacity
from orch.llm import LlmAgent, LlmPrice
from orch.redaction import Redactor

_MAKERS: dict[str, Any] = {"breakers": Breaker.of, "fallbacks": Fallback.of, "limits": Limit.of}

SETTINGS_FILE = "orch.toml"
COMMAND_ENVIRONMENT = (
    *("HOME", "LANG", "LANGUAGE", "LC_*", "LOGNAME", "ORCH_ERROR_LOG", "PATH", "SHELL"),
    *("SSL_CERT_DIR", "SSL_CERT_FILE", "TEMP", "TERM", "TMP", "TMPDIR", "TZ", "USER"),
)
"""Names that commands get unless the settings say otherwise: none of them holds a secret."""


class Settings(BaseSettings):
    """All that can be set. Every field is ``ORCH_<FIELD>`` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="ORCH_", extra="ignore", frozen=True, toml_file=SETTINGS_FILE
    )

    redis_url: str | None = Field(
        None, description="Redis of the journal; None: the embedded server of `data_dir`"
    )
    broker_url: str | None = Field(
        None, description="another Celery broker, e.g. amqp://…; None: the same Redis"
    )
    queue_type: Literal["quorum", "classic"] = Field(
        "quorum",
        description="how queues are declared where RabbitMQ is the broker; classic ones know "
        "priorities, quorum ones outlive a node of a cluster",
    )
    use_local_redis: bool = Field(
        False, description="take a server that already answers on 127.0.0.1:6379"
    )
    data_dir: Path = Field(Path(".orch"), description="directory of the embedded server")
    namespace: str = Field("orch", pattern=r"^[A-Za-z0-9_.-]+$", description="prefix of all keys")
    partitions: int = Field(
        64,
        ge=1,
        le=1024,
        description="partitions of the journal; fixed when a Redis is first used",
    )
    include: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="modules or .py files with capabilities; comma-separated in the environment",
    )
    agent_type: str = Field(
        "worker",
        min_length=1,
        max_length=100,
        description="what kind of agent a worker is, for those who list them",
    )
    agent_retention: float = Field(
        2_592_000.0,
        gt=0,
        description="seconds for which is kept what an agent has done, after it was last seen",
    )
    builtins: bool = Field(True, description="whether workers serve the built-in capabilities")
    files_root: Path | None = Field(
        None,
        description="directory that no path of a built-in capability may leave, and in which "
        "commands run; None: any",
    )
    shell: bool = Field(
        True, description="whether built-in capabilities may run a shell, such as /bin/sh"
    )
    command_environment: Annotated[list[str], NoDecode] = Field(
        default_factory=lambda: list(COMMAND_ENVIRONMENT),
        description="variables of the worker that its commands get, `*` for any characters; "
        "comma-separated in the environment",
    )
    notion_token: SecretStr | None = Field(
        None,
        description="secret of an integration of Notion, which then keeps pages and databases; "
        "None: in files",
    )
    notion_parent: str | None = Field(
        None, description="id of the page in Notion below which these are made"
    )
    notion_url: str = Field(
        "https://api.notion.com", pattern=r"^https?://", description="where Notion's API answers"
    )
    workflow_dir: Path | None = Field(
        None, description="directory with definitions to find by name"
    )

    liveness_ttl: float = Field(
        3.0, gt=0, description="seconds after which a silent worker counts as dead"
    )
    liveness_limit: float = Field(
        15.0,
        gt=0,
        description="seconds after which a silent worker counts as dead although its connection "
        "to Redis is open",
    )
    liveness_interval: float = Field(1.0, gt=0, description="seconds between signs of life")
    watch_interval: float = Field(0.2, gt=0, description="seconds between looks at the watch")
    dispatch_grace: float = Field(
        3.0, gt=0, description="seconds after which a dispatched step is looked at"
    )
    dispatch_grace_max: float = Field(
        60.0, gt=0, description="the longest pause between such looks"
    )
    recheck_interval: float = Field(
        60.0,
        gt=0,
        description="seconds between looks at a token that waits for others",
    )
    recheck_limit: float = Field(
        3600.0,
        gt=0,
        description="the longest pause between looks at a token that waits for an event, for "
        "somebody outside, or is paused; they are as far apart as it is old",
    )
    event_retention: float = Field(
        86_400.0, gt=0, description="seconds for which events are kept and their ids known"
    )
    events_kept: int = Field(
        1000, ge=1, description="most events kept for one execution, or one name and correlation"
    )
    stream: Literal["auto", "on"] = Field(
        "auto",
        description="`on`: events are kept for subscribers that come later; `auto`: only from "
        "the first subscription on",
    )
    stream_retention: float = Field(
        3600.0,
        ge=1,
        description="seconds for which the stream of events outlives its last subscriber",
    )
    max_depth: int = Field(
        20,
        ge=1,
        description="how many executions may stand above, or before, one that a subworkflow or an "
        "event starts",
    )
    redis_patience: float = Field(
        120.0, ge=0, description="seconds for which a worker repeats a call to a Redis that is away"
    )
    affinity_ttl: float = Field(
        3600.0,
        gt=0,
        description="seconds for which an agent has a key of `affinity` after a step of the key "
        "was last sent",
    )
    shutdown_grace: float = Field(
        30.0,
        gt=0,
        description="seconds that running steps have to end where SIGTERM is to mean a soft "
        "shutdown (REMAP_SIGTERM=SIGQUIT); what takes longer is begun anew elsewhere",
    )
    cancel_grace: float = Field(
        10.0, ge=0, description="seconds that steps which run have to end when one cancels"
    )
    default_timeout: float | None = Field(
        None, gt=0, description="seconds for a step without `timeout`; None: no limit"
    )
    retry_strategy: Literal["none", "linear", "exponential"] = Field(
        "none", description="how tasks without `retry` are tried again; none: not at all"
    )
    max_retries: int = Field(
        3, ge=0, description="retries of a task without `retry`, after its first attempt"
    )
    retry_interval: float = Field(
        1.0,
        ge=0,
        description="seconds before the first of them; `retry_strategy` says how it grows",
    )
    escalation: Any = Field(
        None,
        description="who is asked when a step fails for good and neither it nor its workflow says: "
        "a ladder (JSON), or the name of a path; `auto`: the path that takes the error",
    )
    escalation_paths: dict[str, Any] = Field(
        default_factory=dict,
        description="ladders by their names, and which errors take them, as in a workflow (JSON)",
    )
    inbox_queues: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="queues of the inbox that somebody watches: a ladder that names another one is "
        "refused; none: any; comma-separated in the environment",
    )
    serve_escalation: bool = Field(
        True, description="whether a worker also delivers the notices of escalations"
    )
    message_rules: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="rules for messages to a capability, by its name, as in a workflow: tables in "
        "`orch.toml`, JSON in the environment",
    )
    error_handling_level: Literal["minimal", "standard", "aggressive"] = Field(
        "standard",
        description="which failures of tasks without `retry` are tried again: none; those that "
        "may pass, if `retry_strategy` is set; all but permanent ones, in any case",
    )
    error_classes: dict[str, ErrorClass] = Field(
        default_factory=dict,
        description="name of an error, or of an exception, to its class: a table in `orch.toml`, "
        "JSON in the environment",
    )
    hooks: list[Hook] = Field(
        default_factory=list,
        description="who is told of escalations: tables in `orch.toml`, JSON in the environment",
    )
    redact: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="names of variables and keys whose values no failure may tell; comma-separated "
        "in the environment",
    )
    handoff: Literal["auto", "off"] = Field(
        "auto",
        description="whether a worker that ends a step goes on itself with the next one that it "
        "serves, without a message; a workflow or a step may say otherwise",
    )
    handoff_steps: int = Field(
        5, ge=1, description="steps from one message after which others that wait have their turn"
    )
    handoff_slice: float = Field(
        0.05, ge=0, description="seconds after which they have it, however few steps it were"
    )
    busy_poll: float = Field(
        0.001,
        ge=0,
        le=0.01,
        description="seconds for which a process of a prefork pool looks for an answer of Redis "
        "before it sleeps; 0: it sleeps at once",
    )
    pipeline_depth: int = Field(
        16,
        ge=1,
        le=16,
        description="messages that a process of a prefork pool works on in turns where their steps "
        "take less than a millisecond, so that their commits are one write; 1: one after the other",
    )
    lane_slice: float = Field(
        0.2,
        ge=0,
        description="seconds for which a message of a map with `batch: auto` takes items",
    )
    max_lost_attempts: int = Field(
        3, ge=1, description="workers that may die under one step before it counts as poison"
    )
    output_limit: int = Field(
        1_048_576, ge=64, description="largest output of a step and input of a run, bytes of JSON"
    )
    log_level: Literal["debug", "info", "warning", "error", "off"] = Field(
        "info", description="lines of `context.log` from this level on are kept with the execution"
    )
    log_lines: int = Field(
        1000, ge=1, description="lines that are kept of one attempt, beside its last 50"
    )
    log_bytes: int = Field(
        262_144, ge=1000, description="bytes of lines that are kept of one attempt"
    )
    log_bytes_of_execution: int = Field(
        4_194_304,
        ge=1000,
        description="bytes of lines that are kept of one execution; the oldest make room",
    )
    tracing: Literal["off", "otel"] = Field(
        "off",
        description="otel: spans of executions and attempts are sent by OpenTelemetry, as its own "
        "variables `OTEL_*` say",
    )
    secrets_dir: Path | None = Field(
        None,
        description="directory with a file for each secret that steps may ask for, such as "
        "/run/secrets",
    )
    secrets_prefix: str = Field(
        "ORCH_SECRET_",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="what variables of the environment begin with that are such secrets",
    )
    retention: float = Field(
        604_800.0, gt=0, description="seconds for which a finished execution is kept"
    )
    project_id: str = Field(
        "default",
        min_length=1,
        max_length=1000,
        description="project in whose memory is written and sought where nobody names another",
    )
    llm_model: str | None = Field(
        None,
        description="the language model of steps that name none, as `provider:model`; with "
        "`llm_base_url` the name that its server knows",
    )
    llm_base_url: str | None = Field(
        None, description="a server with the API of OpenAI, e.g. http://127.0.0.1:11434/v1"
    )
    llm_api_key: SecretStr | None = Field(
        None, description="key for the models; None: the variable of the provider"
    )
    llm_agents: dict[str, LlmAgent] = Field(
        default_factory=dict,
        description="agents that are a prompt, a model and tools, by the name of their capability",
    )
    llm_agents_dir: Path | None = Field(
        None, description="directory with a YAML file for each further such agent"
    )
    llm_prices: dict[str, LlmPrice] = Field(
        default_factory=dict,
        description="what a million tokens of input and of output cost, by model, where "
        "pydantic-ai knows no price",
    )
    budgets: dict[str, Budget] = Field(
        default_factory=dict,
        description="the most that the executions of a project may use on a day (UTC), by its "
        "name; `*`: every other project",
    )
    remember: Literal["all", "notable", "off"] = Field(
        "notable",
        description="what the memory is told of by itself: `notable`: what people and agents do, "
        "and executions that fail or are cancelled; `all`: also each start and completion; `off`: "
        "escalations alone",
    )
    memory_retention: float = Field(
        7_776_000.0, gt=0, description="seconds for which a record of the memory is kept"
    )
    memory_retention_by_area: dict[str, float] = Field(
        default_factory=dict,
        description="the same for records of an area, by its name, such as `WORKFLOW`",
    )
    memory_limit: int = Field(
        100_000,
        ge=1,
        description="most records in the memory of a project; those that expire first make room",
    )
    memory_compact_after: float | None = Field(
        None,
        gt=0,
        description="seconds after which records of the memory that say the same are merged, each "
        "hour, by the workers that fill the archive; None: only by `orch memory compact`",
    )
    archive_dir: Path | None = Field(
        None,
        description="directory to which executions go that were kept for `retention`; "
        "None: they are dropped",
    )
    monitor_interval: float = Field(
        60.0,
        ge=0,
        description="seconds between two observations of the whole by one of the workers; 0: none",
    )
    report_interval: float = Field(
        86_400.0,
        ge=0,
        description="seconds between two reports that are written into the memory; 0: none",
    )
    monitor_error_rate: float = Field(
        0.25, gt=0, le=1, description="share of the calls of a minute that may fail"
    )
    breakers: dict[str, Breaker] = Field(
        default_factory=dict,
        description="circuit breakers by the name of a capability; they prevail over what is "
        "declared with it",
    )
    fallbacks: dict[str, SkipValidation[Fallback]] = Field(
        default_factory=dict,
        description="outputs that stand in for those of a capability, by its name; they prevail "
        "over what is declared with it",
    )
    limits: dict[str, SkipValidation[Limit]] = Field(
        default_factory=dict,
        description="how often, and how many at a time, steps of a capability may begin, over all "
        "workers, by its name; they prevail over what is declared with it",
    )
    resources: dict[str, int] = Field(
        default_factory=dict,
        description="capacities of resources that steps take, by their names; what "
        "`orch resources define` says prevails",
    )
    tenants: dict[str, float] = Field(
        default_factory=dict,
        description="how much of what is limited a project gets beside the others, by its id; "
        "1 where it is not named",
    )
    priority_ageing: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="seconds of waiting that count as much as a level of priority; 0: none do",
    )
    limit_patience: float = Field(
        60.0,
        gt=0,
        description="seconds after which a step that waits for several limits at once holds back "
        "the others that want them",
    )
    fallback_bytes: int = Field(
        1_048_576, ge=0, description="bytes of outputs of one capability that are kept for these"
    )
    beat_ttl: float = Field(
        3.0,
        ge=1,
        description="seconds after which another beat leads when the one that did is silent",
    )
    chain_links: int = Field(50, ge=1, le=500, description="most links of one Celery chain")
    broker_acks: bool = Field(
        False, description="Celery's own acknowledgements on Redis; redundant here, and dear"
    )
    visibility_timeout: float = Field(
        60.0, ge=30, description="seconds, of the broker, when `broker_acks` is on"
    )
    fault_point: str | None = Field(
        None, description="for tests of faults: `NAME:FILE,…`, one process dies there"
    )

    @field_validator("breakers", "fallbacks", "limits", mode="before")
    @classmethod
    def _declared(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, dict):
            return value
        make: Any = _MAKERS[info.field_name or ""]
        found = {}
        for name, given in value.items():
            try:
                found[name] = make(given)
            except SettingsError as exc:
                raise ValueError(f"of {name!r}: {exc.message}; {exc.hint}") from exc
        return found

    @field_validator("files_root", mode="before")
    @classmethod
    def _unset(cls, value: Any) -> Any:
        return None if value == "" else value  # else it were the current directory

    @field_validator("resources")
    @classmethod
    def _capacities(cls, value: dict[str, int]) -> dict[str, int]:
        for name, capacity in value.items():
            check_capacity(name, capacity)
        return value

    @field_validator("tenants")
    @classmethod
    def _weights(cls, value: dict[str, float]) -> dict[str, float]:
        for name, weight in value.items():
            if not 0.001 <= weight <= 1000:
                raise ValueError(f"the weight of {name!r} is {weight}, not from 0.001 to 1000")
        return value

    @field_validator("memory_retention_by_area")
    @classmethod
    def _areas(cls, value: dict[str, float]) -> dict[str, float]:
        for area, seconds in value.items():
            if area not in AREAS:
                raise ValueError(f"no area {area!r}; there are: {', '.join(AREAS)}")
            if not 0 < seconds < float("inf"):
                raise ValueError(f"records of {area} are kept for {seconds} seconds, not above 0")
        return value

    @field_validator("hooks")
    @classmethod
    def _named_apart(cls, value: list[Hook]) -> list[Hook]:
        names = [hook.name for hook in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two hooks are called {twice[0]!r}")
        return value

    @field_validator("include", "redact", "inbox_queues", "command_environment", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**given: Any) -> Settings:
    """Settings from file, environment and ``given`` (None means: not given).

    Raises SettingsError, which names each field that is wrong and what was found.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as exc:
        redactor = Redactor({})
        lines = [
            f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}, "
            f"found {redactor.text(repr(error.get('input')))}"
            for error in exc.errors()
        ]
        raise SettingsError(
            "settings are wrong: " + "; ".join(lines),
            hint="see the table of settings in docs/settings.md, or unset the ORCH_* variable",
        ) from exc
    except ValueError as exc:  # a settings file that is no TOML
        raise SettingsError(
            f"{SETTINGS_FILE} cannot be read: {exc}", hint="correct the file, or remove it"
        ) from exc
