//! Every key the configuration knows, table by table. Whatever is not listed here is refused, and
//! a test checks that the annotated example shows each of them.

/// The keys of one table.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// How the table is called in messages and in the example.
    pub table: &'static str,
    /// Keys that may stand in the file or in the environment.
    pub known: &'static [&'static str],
    /// Secrets, which may come from the environment but must not stand in the file.
    pub environment_only: &'static [&'static str],
}

const fn keys(table: &'static str, known: &'static [&'static str]) -> Keys {
    Keys {
        table,
        known,
        environment_only: &[],
    }
}

pub(super) const ROOT: Keys = keys(
    "",
    &[
        "first_run",
        "server",
        "store",
        "identity",
        "log",
        "alarms",
        "parity",
        "export",
        "policy",
        "privacy",
        "retention",
        "purposes",
        "systems",
        "marketing_cloud",
    ],
);
pub(super) const SERVER: Keys = keys(
    "server",
    &["listen", "tokens", "callback", "sendout_retention_days"],
);
pub(super) const TOKENS: Keys = keys(
    "server.tokens",
    &["name", "role", "token_file", "token_hash_file"],
);
pub(super) const CALLBACK: Keys = Keys {
    table: "server.callback",
    known: &["secret_file", "hosts"],
    environment_only: &["secret"],
};
pub(super) const ALARMS: Keys = keys("alarms", &["webhook", "mail"]);
pub(super) const ALARMS_WEBHOOK: Keys = Keys {
    table: "alarms.webhook",
    known: &["url", "secret_file"],
    environment_only: &["secret"],
};
pub(super) const ALARMS_MAIL: Keys = Keys {
    table: "alarms.mail",
    known: &[
        "host",
        "port",
        "security",
        "username",
        "password_file",
        "from",
        "to",
    ],
    environment_only: &["password"],
};
pub(super) const PARITY: Keys = keys("parity", &["schedule", "time_zone", "directory", "full"]);
pub(super) const EXPORT: Keys = keys(
    "export",
    &[
        "controller",
        "controller_id",
        "contact",
        "postal_address",
        "notice_url",
        "notice_language",
        "jurisdiction",
        "data_categories",
        "retention",
        "storage_locations",
        "recipients",
        "withdraw_url",
        "rights_url",
        "validity",
    ],
);
pub(super) const PRIVACY: Keys = keys("privacy", &["suppression_keys"]);
pub(super) const SUPPRESSION_KEYS: Keys = keys("privacy.suppression_keys", &["id", "file"]);
pub(super) const RETENTION: Keys = keys(
    "retention",
    &[
        "flips_days",
        "load_members_days",
        "quarantine_days",
        "closed_requests_days",
        "deleted_contacts_days",
        "ledger",
    ],
);
pub(super) const RETENTION_LEDGER: Keys = keys(
    "retention.ledger",
    &[
        "observed_days",
        "verdict_days",
        "writes_days",
        "operator_days",
    ],
);
pub(super) const STORE: Keys = Keys {
    table: "store",
    known: &["url", "password_file"],
    environment_only: &["password"],
};
pub(super) const IDENTITY: Keys = Keys {
    table: "identity",
    known: &["hash_key_file"],
    environment_only: &["hash_key"],
};
pub(super) const LOG: Keys = keys("log", &["format", "filter"]);
pub(super) const POLICY: Keys = keys(
    "policy",
    &[
        "observed_window_hours",
        "grant_settle_secs",
        "future_tolerance_secs",
        "withdrawal_deadline_hours",
        "flaps_per_hour",
        "load_contacts_per_minute",
        "duplicates",
        "mass_change",
    ],
);
pub(super) const MASS_CHANGE: Keys = keys(
    "policy.mass_change",
    &[
        "grants_at_least",
        "grants_percent",
        "withdrawals_at_least",
        "withdrawals_percent",
    ],
);
pub(super) const DUPLICATES: Keys = keys("policy.duplicates", &["write", "withdrawal"]);
pub(super) const PURPOSES: Keys =
    keys("purposes", &["name", "revival", "unknown", "granted_basis"]);

/// What every system has.
macro_rules! system_keys {
    ($($more:literal),* $(,)?) => {
        &[
            "kind",
            "enabled",
            "legal_basis_sync",
            "schedule",
            "time_zone",
            "poll_interval_secs",
            "overlap_secs",
            "lag_secs",
            "max_lag_secs",
            "page_rows",
            "precedence",
            "bulk_actors",
            "mass_change",
            "request_timeout_secs",
            "connect_timeout_secs",
            "max_body_mib",
            "max_concurrent",
            "max_calls_per_sec",
            "auth",
            $($more),*
        ]
    };
}

/// What a system on the Salesforce platform has besides.
macro_rules! platform_keys {
    ($($more:literal),* $(,)?) => {
        system_keys!(
            "api_version",
            "quota_reserve_percent",
            "safety_net_interval_secs",
            "bulk_query_above",
            "bulk_ingest_above",
            "bulk_deadline_secs",
            $($more),*
        )
    };
}

pub(super) const SALESFORCE: Keys = keys("systems.salesforce", platform_keys!("fields"));
pub(super) const ASCEND: Keys = keys(
    "systems.ascend",
    platform_keys!(
        "transport",
        "object",
        "address_field",
        "opt_out",
        "link",
        "file"
    ),
);
pub(super) const SUPEROFFICE: Keys = keys(
    "systems.superoffice",
    system_keys!(
        "deployment",
        "base_url",
        "ca_file",
        "purposes",
        "legal_bases",
        "source",
        "comment",
        "language",
        "filter_time_zone",
        "consent_feed",
        "retired",
        "merge_log",
        "sweep_interval_secs",
        "webhook",
    ),
);
/// For a system whose kind is missing or misspelt: that fault alone is worth reporting.
pub(super) const ANY_SYSTEM: Keys = keys(
    "systems.*",
    platform_keys!(
        "fields",
        "transport",
        "object",
        "address_field",
        "opt_out",
        "link",
        "file",
        "feed",
        "sweep_interval_secs",
        "full_interval_secs",
        "source",
        "person_sources",
        "refused_characters",
        "purposes",
        "legal_bases",
        "consent",
        "contact",
        "legacy",
        "deployment",
        "base_url",
        "ca_file",
        "comment",
        "language",
        "filter_time_zone",
        "consent_feed",
        "retired",
        "merge_log",
        "webhook"
    ),
);
pub(super) const EMARKETEER: Keys = keys(
    "systems.emarketeer",
    system_keys!(
        "feed",
        "sweep_interval_secs",
        "full_interval_secs",
        "source",
        "person_sources",
        "refused_characters",
        "purposes",
        "legal_bases",
        "consent",
        "contact",
        "legacy",
    ),
);
pub(super) const EMARKETEER_AUTH: Keys = Keys {
    table: "systems.emarketeer.auth",
    known: &["scheme", "key_file", "consent_key_file", "contact_key_file"],
    environment_only: &["key", "consent_key", "contact_key"],
};
pub(super) const EMARKETEER_BASES: Keys = keys(
    "systems.emarketeer.legal_bases",
    &[
        "consent",
        "contract",
        "legal-obligation",
        "vital-interests",
        "public-task",
        "legitimate-interests",
        "withdrawn",
        "none",
    ],
);
pub(super) const EMARKETEER_CONSENT: Keys = keys(
    "systems.emarketeer.consent",
    &[
        "base_url",
        "list",
        "filter",
        "history",
        "create",
        "purposes",
        "legal_bases",
        "sources",
        "lists",
        "totals",
        "items",
        "query",
        "fields",
        "body",
    ],
);
pub(super) const EMARKETEER_CONSENT_QUERY: Keys = keys(
    "systems.emarketeer.consent.query",
    &["key", "purpose", "since", "limit", "offset"],
);
pub(super) const EMARKETEER_CONSENT_FIELDS: Keys = keys(
    "systems.emarketeer.consent.fields",
    &[
        "id",
        "key",
        "purpose",
        "legal_basis",
        "source",
        "comment",
        "changed_at",
    ],
);
pub(super) const EMARKETEER_ITEMS: Keys = keys("systems.emarketeer.consent.items", &["id", "name"]);
pub(super) const EMARKETEER_BODY: Keys = keys(
    "systems.emarketeer.consent.body",
    &[
        "key",
        "purpose",
        "legal_basis",
        "source",
        "comment",
        "references",
    ],
);
pub(super) const EMARKETEER_CONTACT: Keys = keys(
    "systems.emarketeer.contact",
    &["base_url", "list", "lists", "totals", "query", "fields"],
);
pub(super) const EMARKETEER_CONTACT_QUERY: Keys = keys(
    "systems.emarketeer.contact.query",
    &[
        "email",
        "created_since",
        "modified_since",
        "limit",
        "offset",
    ],
);
pub(super) const EMARKETEER_CONTACT_FIELDS: Keys = keys(
    "systems.emarketeer.contact.fields",
    &["email", "created", "modified"],
);
pub(super) const EMARKETEER_LEGACY: Keys = Keys {
    table: "systems.emarketeer.legacy",
    known: &["base_url", "api_id_file"],
    environment_only: &["api_id"],
};
pub(super) const AUTH: Keys = Keys {
    table: "systems.salesforce.auth",
    known: &[
        "grant",
        "login_url",
        "allowed_hosts",
        "client_id",
        "username",
        "audience",
        "private_key_file",
        "client_secret_file",
        "token_file",
    ],
    environment_only: &["private_key", "client_secret"],
};
pub(super) const SUPEROFFICE_AUTH: Keys = Keys {
    table: "systems.superoffice.auth",
    known: &[
        "grant",
        "login_url",
        "allowed_hosts",
        "customer",
        "serial",
        "app_token_file",
        "system_user_token_file",
        "private_key_file",
        "client_id",
        "client_secret_file",
        "token_file",
        "username",
        "password_file",
        "ticket_file",
    ],
    environment_only: &[
        "app_token",
        "system_user_token",
        "private_key",
        "client_secret",
        "password",
    ],
};
pub(super) const SUPEROFFICE_BASES: Keys = keys(
    "systems.superoffice.legal_bases",
    &[
        "consent",
        "contract",
        "legal-obligation",
        "vital-interests",
        "public-task",
        "legitimate-interests",
        "withdrawn",
    ],
);
pub(super) const SUPEROFFICE_WEBHOOK: Keys = Keys {
    table: "systems.superoffice.webhook",
    known: &["url", "secret_file", "previous_secret_file"],
    environment_only: &["secret", "previous_secret"],
};
pub(super) const MARKETING_CLOUD: Keys = Keys {
    table: "marketing_cloud",
    known: &[
        "enabled",
        "auth_url",
        "soap_url",
        "allowed_hosts",
        "client_id",
        "client_secret_file",
        "account",
        "name",
        "units",
        "read",
        "keys_per_call",
        "utc_offset",
        "request_timeout_secs",
        "connect_timeout_secs",
        "max_body_mib",
        "max_concurrent",
        "max_calls_per_sec",
        "system",
        "subscriber_key",
        "purpose",
        "schedule",
        "time_zone",
        "auto_resubscribe",
        "auto_resubscribe_dry_run",
        "sheet",
    ],
    environment_only: &["client_secret"],
};
pub(super) const MARKETING_CLOUD_UNITS: Keys = keys("marketing_cloud.units", &["id", "name"]);
pub(super) const MARKETING_CLOUD_SHEET: Keys = keys(
    "marketing_cloud.sheet",
    &["directory", "schedule", "formats"],
);
pub(super) const FIELDS: Keys = keys(
    "systems.salesforce.fields",
    &["opt_out", "opt_out_purpose", "link", "preferences"],
);
pub(super) const OPT_OUT: Keys = keys(
    "systems.ascend.opt_out",
    &["purpose", "mode", "polarity", "field", "service_indicator"],
);
pub(super) const SERVICE_INDICATOR: Keys = keys(
    "systems.ascend.opt_out.service_indicator",
    &[
        "object",
        "contact_field",
        "value_field",
        "value_object",
        "code_field",
        "code",
        "also_blocking",
        "active_field",
        "start_field",
        "end_field",
        "comment_field",
    ],
);
pub(super) const FILE: Keys = keys(
    "systems.ascend.file",
    &[
        "directory",
        "as_of",
        "ack_timeout_hours",
        "batch_rows",
        "max_file_mib",
        "integration_actors",
        "lock_owner",
        "lock_stale_hours",
        "sftp",
    ],
);
pub(super) const SFTP: Keys = Keys {
    table: "systems.ascend.file.sftp",
    known: &[
        "host",
        "port",
        "directory",
        "user",
        "host_key",
        "private_key_file",
        "password_file",
    ],
    environment_only: &["private_key", "password"],
};
pub(super) const LINK: Keys = keys("systems.ascend.link", &["field", "system", "system_field"]);

/// All tables, as they stand in the example.
pub const TABLES: &[Keys] = &[
    ROOT,
    SERVER,
    TOKENS,
    CALLBACK,
    STORE,
    IDENTITY,
    LOG,
    ALARMS,
    ALARMS_WEBHOOK,
    ALARMS_MAIL,
    PARITY,
    EXPORT,
    PRIVACY,
    SUPPRESSION_KEYS,
    RETENTION,
    RETENTION_LEDGER,
    POLICY,
    DUPLICATES,
    PURPOSES,
    SALESFORCE,
    AUTH,
    FIELDS,
    ASCEND,
    OPT_OUT,
    SERVICE_INDICATOR,
    LINK,
    FILE,
    SFTP,
    EMARKETEER,
    EMARKETEER_AUTH,
    EMARKETEER_BASES,
    EMARKETEER_CONSENT,
    EMARKETEER_CONSENT_QUERY,
    EMARKETEER_CONSENT_FIELDS,
    EMARKETEER_ITEMS,
    EMARKETEER_BODY,
    EMARKETEER_CONTACT,
    EMARKETEER_CONTACT_QUERY,
    EMARKETEER_CONTACT_FIELDS,
    EMARKETEER_LEGACY,
    SUPEROFFICE,
    SUPEROFFICE_AUTH,
    SUPEROFFICE_BASES,
    SUPEROFFICE_WEBHOOK,
    MARKETING_CLOUD,
    MARKETING_CLOUD_UNITS,
    MARKETING_CLOUD_SHEET,
];

/// The known name that `unknown` was most likely meant to be.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = unknown.to_lowercase().replace('-', "_");
    known
        .map(|name| (strsim::damerau_levenshtein(&wanted, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .min()
        .map(|(_, name)| name)
}
