use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::domain::{ModelPrice, NanoUsd, Timestamp, Tokens};
use crate::protocol::Dialect;
use crate::providers::Kind;

use super::*;

const CANARY: &str = "sk-canary-4f9d2c7e51b8";

/// A directory with a configuration, and an environment.
struct Bench {
    directory: TempDir,
    variables: BTreeMap<String, OsString>,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: TempDir::new().unwrap(), variables: BTreeMap::new() };
        bench.with("HOME", "/home/jane").with("KEY", CANARY)
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.directory.path().join(name), content).unwrap();
        fs::set_permissions(self.directory.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn load(&self, file: Option<&str>) -> Result<Config, Faults> {
        self.load_with(file, Overrides::default())
    }

    fn load_with(&self, file: Option<&str>, overrides: Overrides) -> Result<Config, Faults> {
        let environment = |name: &str| self.variables.get(name).cloned();
        load(file.map(|file| self.path(file)).as_deref(), overrides, &environment)
    }

    fn read(self, text: &str) -> Result<Config, Faults> {
        self.file("kt.yaml", text).load(Some("kt.yaml"))
    }

    /// All faults of `text`, without the directory.
    fn faults(self, text: &str) -> Vec<String> {
        let bench = self.file("kt.yaml", text);
        let faults = bench.load(Some("kt.yaml")).expect_err("no faults");
        let directory = format!("{}/", bench.directory.path().display());
        let report = faults.to_string();
        assert!(!report.contains(CANARY), "a secret is echoed: {report}");
        faults.iter().map(|fault| fault.to_string().replace(&directory, "")).collect()
    }
}

fn faults(text: &str) -> Vec<String> {
    Bench::new().faults(text)
}

/// The faults of settings that follow `version: 1`, without file and line.
fn faults_of(settings: &str) -> Vec<String> {
    let place = |fault: String| fault.split_once(": ").map(|(_, rest)| rest.to_owned()).unwrap();
    faults(&format!("version: 1\n{settings}")).into_iter().map(place).collect()
}

fn read(settings: &str) -> Config {
    Bench::new().read(&format!("version: 1\n{settings}")).unwrap_or_else(|faults| panic!("{faults}"))
}

fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(|warning| warning.to_string()).collect()
}

// One report

#[test]
fn all_faults_come_in_one_report_sorted_by_line() {
    let found = faults(
        "version: 2
orgnization: acme
listen: {edge: \"41002\"}
providers:
  openai:
    kind: openai
    base_ulr: https://api.openai.com
    api_key: {env: MISSING}
  openai: {kind: anthropic}
models:
  - {name: \"gpt-*\", providers: [opnai]}
timeouts: {write: 0s}
log: loud
",
    );
    assert_eq!(
        found,
        [
            "kt.yaml:1: version: this program reads version 1 only",
            "kt.yaml:2: orgnization: unknown setting; did you mean organization?",
            "kt.yaml:3: listen.edge: expected an IP address and a port like 127.0.0.1:41002 or [::1]:41002, found \"41002\"",
            "kt.yaml:7: providers.openai.base_ulr: unknown setting; did you mean base_url?",
            "kt.yaml:8: providers.openai.api_key: the environment variable MISSING is not set; export it, or point at a file",
            "kt.yaml:9: providers.openai: set twice; it was set on line 5 already",
            "kt.yaml:11: models[0].providers[0]: no such provider; did you mean openai?",
            "kt.yaml:12: timeouts.write: must be from 100ms to 1h, found 0ms",
            "kt.yaml:13: log: expected settings, `name: value`",
        ]
    );
}

#[test]
fn a_report_ends_with_the_number_of_faults() {
    let report = |text| Bench::new().read(text).unwrap_err().to_string();
    assert!(report("version: 1\nx: 1\n").ends_with("\n1 fault in the configuration"));
    assert!(report("x: 1\n").ends_with("\n2 faults in the configuration"));
}

#[test]
fn faults_in_the_price_file_follow_those_in_the_configuration() {
    let bench = Bench::new().file("own.yaml", "version: v1\nmodels: {acme: {m: {input: 1, ouptut: 2}}}\n");
    assert_eq!(
        bench.faults("version: 1\nprices: {file: own.yaml}\nlog: {level: loud}\n"),
        [
            "kt.yaml:3: log.level: expected error or warn or info or debug, found \"loud\"",
            "own.yaml:2: models.acme.m.output: missing; US dollars per million tokens, 0 if free",
            "own.yaml:2: models.acme.m.ouptut: unknown setting; did you mean output?",
        ]
    );
}

// Form

#[test]
fn the_version_must_be_written() {
    assert_eq!(faults("organization: acme\n"), ["kt.yaml:1: version: missing; begin with `version: 1`"]);
    assert_eq!(faults(""), ["kt.yaml:1: version: missing; begin with `version: 1`"]);
    assert_eq!(faults("version: one\n"), ["kt.yaml:1: version: this program reads version 1 only"]);
}

#[test]
fn a_file_that_is_no_yaml_names_the_line() {
    let found = faults("version: 1\nlisten: {edge: 127.0.0.1:1\norganization: acme\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("not YAML: "), "{found:?}");
    assert_eq!(
        faults("version: 1\nlog:\n\tlevel: info\n"),
        ["kt.yaml:3: a line is indented with a tab; YAML takes spaces only"]
    );
    assert_eq!(faults("just a text\n"), ["kt.yaml:1: expected settings, `name: value`",]);
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let bench = Bench::new();
    let report = bench.load(Some("absent.yaml")).unwrap_err().to_string();
    assert!(report.contains("absent.yaml: failed to read: No such file"), "{report}");
    let bench =
        bench.file("large.yaml", "#".repeat(1024 * 1024 + 1)).file("latin.yaml", b"version: 1\ngateway: \xe9\n");
    let report = bench.load(Some("large.yaml")).unwrap_err().to_string();
    assert!(report.contains("larger than 1048576 bytes"), "{report}");
    let report = bench.load(Some("latin.yaml")).unwrap_err().to_string();
    assert!(report.contains("not UTF-8 in line 2"), "{report}");
    fs::create_dir(bench.path("directory")).unwrap();
    assert!(bench.load(Some("directory")).is_err());
}

#[test]
fn a_wrong_type_says_what_is_expected() {
    assert_eq!(faults_of("organization: [a]\n"), ["organization: expected one value, found a list"]);
    assert_eq!(faults_of("organization: {a: b}\n"), ["organization: expected one value, found settings"]);
    assert_eq!(faults_of("organization:\n"), ["organization: no value; give one, or remove the line for the default"]);
    assert_eq!(faults_of("models: {a: b}\n"), ["models: expected a list, `[…]` or a line with - for each"]);
    assert_eq!(faults_of("models: [fast]\n"), ["models[0]: expected settings, `{name: value}`"]);
    assert_eq!(faults_of("providers: [openai]\n"), ["providers: expected settings, `name: value`"]);
    assert_eq!(faults_of("providers: {openai: x}\n"), ["providers.openai: expected settings, `{name: value}`"]);
}

#[test]
fn an_anchored_section_is_refused_once_and_still_read() {
    let found = faults_of("log: &log {level: loud}\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("an anchor (&)") && found[1].starts_with("log.level: "), "{found:?}");
}

#[test]
fn settings_of_later_versions_are_unknown() {
    for section in ["store", "control_plane"] {
        let found = faults_of(&format!("{section}: {{}}\n"));
        assert!(found.len() == 1 && found[0].starts_with(&format!("{section}: unknown setting")), "{found:?}");
    }
    assert_eq!(faults_of("streams: {buffer: 10}\n"), ["streams.buffer: unknown setting; known here: cut"]);
}

#[test]
fn limits_of_the_organization_are_read() {
    let config = read(
        "limits:
  rpm: 600
  budget: {usd: 12.5, per: month, time_zone: Europe/Berlin}
  budgets: [{tokens: 1000, per: day, hard: false}]
  models: {\"gpt-*\": {concurrency: 3}}
",
    );
    let budgets: Vec<_> = config.limits.all.budgets.iter().map(ToString::to_string).collect();
    assert_eq!(budgets, ["12.5usd/month@Europe/Berlin", "1000tokens/day:soft"]);
    let shown = config.show();
    for line in
        ["  rpm: 600\n", "{usd: 12.5, per: month, time_zone: Europe/Berlin, hard: true}", "      concurrency: 3\n"]
    {
        assert!(shown.contains(line), "{shown}");
    }
    for (text, fault) in [
        ("limits: {rpm: 0}", "limits.rpm: must be from 1 to 1000000000000, found 0"),
        ("limits: {budget: {per: day}}", "limits.budget: a budget is either in usd or in tokens: write one of them"),
        ("limits: {budget: {usd: 5}}", "limits.budget.per: missing; hour, day, week, month or total"),
        (
            "limits: {models: {\"gpt 4\": {rpm: 1}}}",
            "limits.models.gpt 4: a pattern has no spaces and no control characters",
        ),
        ("limits: {burst: 5}", "limits: burst says how many of a minute's requests may come at once: it needs rpm"),
    ] {
        assert_eq!(faults_of(&format!("{text}\n")), [fault]);
    }
}

#[test]
fn other_spellings_of_a_setting_are_recognised() {
    assert_eq!(faults_of("dataDir: /x\n"), ["dataDir: unknown setting; did you mean data_dir?"]);
    assert_eq!(faults_of("timeout: {write: 1s}\n"), ["timeout: unknown setting; did you mean timeouts?"]);
    assert_eq!(
        faults_of("timeouts: {first-byte: 1s}\n"),
        ["timeouts.first-byte: unknown setting; did you mean first_byte?"]
    );
}

#[test]
fn a_section_may_be_empty() {
    let config = read("timeouts:\nproviders:\nmodels:\nlog: {}\n");
    assert_eq!(config.log, Log::default());
}

// Values

#[test]
fn values_out_of_range_name_the_range() {
    let limits = "limits: {body_bytes_max: 0, upstream_connections_kept: 0}\n";
    assert_eq!(
        faults_of(limits),
        [
            "limits.body_bytes_max: must be from 1KiB to 1GiB, found 0",
            "limits.upstream_connections_kept: must be from 1 to 65536, found 0",
        ]
    );
    assert_eq!(
        faults_of("timeouts: {connect: 1h, drain: 30d, body: 10}\n"),
        [
            "timeouts.body: expected a duration like 10s, 5m or 250ms, found \"10\"",
            "timeouts.connect: must be from 100ms to 5m, found 1h",
            "timeouts.drain: must be from 100ms to 1d, found 30d",
        ]
    );
    assert_eq!(
        faults_of("audit: {queue: 0}\nmetrics: {max_keys: -1}\n"),
        ["audit.queue: must be from 16 to 1048576, found 0", "metrics.max_keys: expected a whole number, found \"-1\"",]
    );
    assert_eq!(faults_of("log: {format: jsn}\n"), ["log.format: did you mean json? found \"jsn\""]);
    assert_eq!(
        faults_of("organization: other\n"),
        ["organization: the names \"none\", \"other\" and \"passthrough\" are reserved for metrics"]
    );
    assert_eq!(faults_of("data_dir: ~/kt\n"), ["data_dir: ~ is not expanded here; write the whole path"]);
}

#[test]
fn what_is_written_holds() {
    let config = read(
        "organization: acme
gateway: edge-1
listen: {edge: 0.0.0.0:0, admin: localhost:7, metrics: \"[::1]:8\"}
data_dir: data
limits: {body_bytes_max: 1MiB, upstream_connections_kept: 7}
timeouts: {body: 1s, connect: 2s, first_byte: 3s, write: 5s, drain: 250ms}
audit: {queue: 100}
metrics: {max_keys: 11}
log: {format: json, level: debug}
",
    );
    assert_eq!((config.organization.as_str(), config.gateway.as_str()), ("acme", "edge-1"));
    let Listen { edge, admin, metrics } = config.listen;
    assert_eq!([edge, admin, metrics].map(|a| a.to_string()), ["0.0.0.0:0", "127.0.0.1:7", "[::1]:8"]);
    assert!(config.data_dir.is_absolute() && config.data_dir.ends_with("data"), "relative to the file's directory");
    assert_eq!((config.settings.body_bytes_max, config.settings.upstream_connections_kept), (1 << 20, 7));
    let timeouts = config.settings.timeouts;
    let seconds = [timeouts.body, timeouts.connect, timeouts.first_byte, timeouts.write];
    assert_eq!(seconds.map(|duration| duration.as_secs()), [1, 2, 3, 5]);
    assert_eq!(timeouts.drain, Duration::from_millis(250));
    assert_eq!((config.journal_capacity, config.metrics_keys_max), (100, 11));
    assert_eq!(config.log, Log { format: LogFormat::Json, level: LevelFilter::Debug });
}

#[test]
fn what_the_organization_may_use_is_a_list_or_anything() {
    assert!(read("access: {}\n").permissions.allow_all());
    let config = read("access: {models: [\"gpt-*\"], endpoints: [], networks: [10.0.0.0/8, \"::1\"]}\n");
    let Permissions { models, providers, endpoints, networks } = &config.permissions;
    assert_eq!((models.as_ref().unwrap().len(), providers.is_none(), endpoints.as_ref().unwrap().len()), (1, true, 0));
    assert_eq!(networks.as_ref().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1"]);
    assert!(config.show().contains("access:\n  models: [\"gpt-*\"]\n  endpoints: []\n"), "{}", config.show());
    assert_eq!(
        faults_of(
            "access:\n  model: [x]\n  models: [\"a b\"]\n  networks: [10.0.0.1/8, 10.0.0/8]\n  providers: openai\n"
        ),
        [
            "access.model: unknown setting; did you mean models?",
            "access.models[0]: a pattern has no spaces and no control characters",
            "access.networks[0]: the address has bits beyond its prefix: write the network's first address",
            "access.networks[1]: not an address or a network: write 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32",
            "access.providers: expected a list, `[…]` or a line with - for each",
        ]
    );
    let told = warnings(&read("access: {providers: [opnai]}\n"));
    assert!(told.iter().any(|warning| warning.contains("\"opnai\" matches no configured provider")), "{told:?}");
}

#[test]
fn listeners_cannot_share_a_port() {
    assert_eq!(
        faults("version: 1\nlisten:\n  edge: 0.0.0.0:41003\n  metrics: 127.0.0.1:0\n"),
        ["kt.yaml: listen.admin: 127.0.0.1:41003 is taken by listen.edge; give each its own port"]
    );
    let bench = Bench::new().file("kt.yaml", "version: 1\n");
    let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let overrides = Overrides { edge: Some(anywhere), admin: Some(anywhere), metrics: Some(anywhere), data_dir: None };
    assert_eq!(bench.load_with(Some("kt.yaml"), overrides).unwrap().listen.admin, anywhere);
}

#[test]
fn an_open_admin_listener_is_a_warning() {
    let config = read(
        "providers: {local: {kind: openai_compatible, base_url: \"http://localhost:1\"}}\nlisten: {edge: 0.0.0.0:1, admin: 0.0.0.0:2, metrics: 10.0.0.1:3}\n",
    );
    let found = warnings(&config);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains(":3: listen.admin: the admin API can be reached from other machines at 0.0.0.0:2"));
    assert!(found[1].contains(":3: listen.metrics: "));
    let open = Overrides { admin: "0.0.0.0:0".parse().ok(), ..Overrides::default() };
    let found = warnings(&Bench::new().with("OPENAI_API_KEY", CANARY).load_with(None, open).unwrap());
    assert!(found.len() == 1 && found[0].starts_with("command line: listen.admin: the admin API"), "{found:?}");
}

// Providers and their keys

#[test]
fn a_provider_is_addressed_at_its_vendor_unless_it_says_otherwise() {
    let config = read(
        "providers:
  openai: {kind: openai, api_key: {env: KEY}}
  claude: {kind: anthropic, api_key: {env: KEY}, base_url: https://proxy.example/anthropic/v1}
  local: {kind: openai_compatible, base_url: http://127.0.0.1:8000}
",
    );
    let urls: Vec<_> = config.routing.providers.iter().map(|p| (p.name.to_string(), p.base_url.to_string())).collect();
    let expected = [
        ("openai", "https://api.openai.com"),
        ("claude", "https://proxy.example/anthropic"),
        ("local", "http://127.0.0.1:8000"),
    ];
    assert_eq!(urls, expected.map(|(name, url)| (name.to_owned(), url.to_owned())));
    let [openai, _, local] = [0, 1, 2].map(|at| config.routing.providers[at].credential.as_ref());
    assert_eq!((openai.map(|key| key.expose()), local.map(|key| key.expose())), (Some(CANARY), None));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn an_incomplete_provider_says_what_is_missing() {
    assert_eq!(
        faults("version: 1\nproviders:\n  a: {}\n  b: {kind: openai}\n  c: {kind: openai_compatible}\n"),
        [
            "kt.yaml:3: providers.a.kind: missing; one of openai, anthropic, gemini, azure, openai_compatible",
            "kt.yaml:4: providers.b.api_key: missing; write where the key is: {env: NAME}, {file: PATH} or {credential: NAME}",
            "kt.yaml:5: providers.c.base_url: missing; where the server is, like http://127.0.0.1:8000",
        ]
    );
    assert_eq!(
        faults_of("providers: {g: {kind: vertex, api_key: {env: KEY}}}\n"),
        ["providers.g.kind: expected openai or anthropic or gemini or azure or openai_compatible, found \"vertex\""]
    );
}

#[test]
fn a_provider_that_cannot_be_verified_or_addressed_is_refused() {
    let url =
        |url: &str| faults_of(&format!("providers: {{a: {{kind: openai, api_key: {{env: KEY}}, base_url: {url}}}}}\n"));
    assert_eq!(
        url("https://10.0.0.1"),
        ["providers.a.base_url: an https URL needs a host name, because the certificate is verified against it"]
    );
    assert_eq!(url("\"https://:443\"").len(), 1);
    assert_eq!(
        url(&format!("https://user:{CANARY}@host")),
        ["providers.a.base_url: a URL cannot hold credentials: use api_key"]
    );
    let name = |name: &str| faults_of(&format!("providers: {{{name}: {{kind: openai, api_key: {{env: KEY}}}}}}\n"));
    assert!(name("v1")[0].contains("mean something else"));
    assert!(name("équipe")[0].contains("ASCII"));
    assert!(name("none")[0].contains("reserved"));
    assert!(name("\"a b\"")[0].contains("found ' '"));
}

#[test]
fn a_key_that_is_written_out_is_refused_and_not_echoed() {
    let key = |written: &str| faults_of(&format!("providers:\n  a: {{kind: openai, api_key: {written}}}\n"));
    let expected =
        "expected where the key is, not the key itself: {env: NAME}, {file: PATH} or {credential: NAME} (systemd)";
    assert_eq!(key(CANARY), [format!("providers.a.api_key: {expected}")]);
    assert_eq!(key("{}"), [format!("providers.a.api_key: {expected}")]);
    assert_eq!(key("[x]"), [format!("providers.a.api_key: {expected}")]);
    assert_eq!(key("{env: KEY, file: x}"), [format!("providers.a.api_key: {expected}")]);
    for hidden in [
        format!("{{env: {CANARY}}}"),
        format!("{{file: {CANARY}}}"),
        format!("{{credential: {CANARY}}}"),
        format!("{{value: {CANARY}}}"),
        format!("{{{CANARY}: }}"),
        format!("{{{CANARY}}}"),
        format!("{{{CANARY}: 1, {CANARY}: 2}}"),
    ] {
        assert!(!key(&hidden).is_empty(), "{hidden}");
    }
    let gemini_like = "AIzaSyCanary0123456789";
    assert!(!key(&format!("{{env: {gemini_like}}}"))[0].contains(gemini_like));
    assert!(!faults_of(&format!("log: {{level: {CANARY}}}\n")).is_empty());
    assert!(!faults_of(&format!("models: [{{name: x, providers: [{CANARY}]}}]\n")).is_empty());
}

#[test]
fn a_reference_that_leads_to_no_key_is_a_fault() {
    let from = |bench: Bench, reference: &str| {
        let found = bench.faults(&format!("version: 1\nproviders:\n  a: {{kind: openai, api_key: {reference}}}\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("kt.yaml:3: providers.a.api_key: "), "{found:?}");
        found[0].clone()
    };
    let env = |value: &str| from(Bench::new().with("BAD", value), "{env: BAD}");
    assert!(env("").contains("the key is empty"));
    assert!(env(&format!("{CANARY} x")).contains("holds a space"));
    assert!(env(&format!("{CANARY}\tx")).contains("a control character"));
    assert!(env(&format!("\"{CANARY}\"")).contains("quotes around it"));
    let file = |content: &str| from(Bench::new().file("key", content), "{file: key}");
    assert!(file("\n").contains("the key is empty"));
    assert!(file(&format!("{CANARY}\n{CANARY}\n")).contains("a control character"));
    assert!(file(&"x".repeat(65 * 1024)).contains("larger than 65536 bytes"));
    assert!(from(Bench::new(), "{file: absent}").contains("no file at the path"));
    assert!(from(Bench::new(), "{credential: openai}").contains("CREDENTIALS_DIRECTORY is not set"));
}

const SIGNING: &str = "whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5";

fn with_webhook(written: &str) -> String {
    format!("version: 1\naudit:\n  webhook: {written}\n")
}

#[test]
fn a_webhook_is_read_shown_and_never_with_its_secret() {
    let bench = || Bench::new().with("HOOK", SIGNING);
    let config = bench().read(&with_webhook("{url: \"https://siem.example/in\", secret: {env: HOOK}}")).unwrap();
    let webhook = config.settings.webhook.clone().unwrap();
    assert_eq!(
        (webhook.url.to_string().as_str(), webhook.give_up_after.as_secs()),
        ("https://siem.example/in", 86_400)
    );
    let shown = config.show();
    let expected = "  webhook:\n    url: https://siem.example/in\n    secret: (from env HOOK)\n    give_up_after: 1d\n";
    assert!(shown.contains(expected) && !shown.contains(&SIGNING[6..]), "{shown}");
    assert!(!format!("{config:?}").contains(&SIGNING[6..]));

    let plain = "{url: \"http://siem.example/in\", secret: {file: hook}, give_up_after: 2h}";
    let config = Bench::new().file("hook", format!("{SIGNING}\n")).read(&with_webhook(plain)).unwrap();
    assert!(warnings(&config).iter().any(|warning| warning.contains("use https")), "{:?}", warnings(&config));
    assert_eq!(config.settings.webhook.unwrap().give_up_after.as_secs(), 7_200);
    let local = "{url: \"http://127.0.0.1:9000/\", secret: {env: HOOK}}";
    assert!(!warnings(&bench().read(&with_webhook(local)).unwrap()).iter().any(|warning| warning.contains("https")));
}

#[test]
fn an_incomplete_or_guessable_webhook_is_refused_and_its_secret_not_echoed() {
    let faults = |written: &str| {
        let bench = Bench::new().with("HOOK", SIGNING).with("WEAK", "c2hvcnQ=");
        let faults = bench.faults(&with_webhook(written));
        assert!(!faults.concat().contains(&SIGNING[6..]), "{faults:?}");
        faults.concat()
    };
    let url = "url: \"https://siem.example/in\"";
    assert!(faults(&format!("{{{url}}}")).contains("audit.webhook.secret: missing; write where the secret is"));
    assert!(faults("{secret: {env: HOOK}}").contains("audit.webhook.url"));
    assert!(faults(&format!("{{{url}, secret: {SIGNING}}}")).contains("where the secret is, not the secret itself"));
    assert!(faults(&format!("{{{url}, secret: {{env: WEAK}}}}")).contains("openssl rand -base64 32"));
    assert!(faults("{url: \"https://a/?token=1\", secret: {env: HOOK}}").contains("no query"));
    assert!(faults(&format!("{{{url}, secret: {{env: HOOK}}, give_up_after: 31d}}")).contains("give_up_after"));
    assert!(faults(&format!("{{{url}, secret: {{env: HOOK}}, retries: 3}}")).contains("retries"));
}

#[test]
fn keys_come_from_variables_files_and_systemd() {
    let bench = Bench::new().file("key", format!("{CANARY}-file\r\n")).file("openai", format!("{CANARY}-systemd\n"));
    let directory = bench.directory.path().display().to_string();
    let bench = bench.with("CREDENTIALS_DIRECTORY", &directory).file(
        "kt.yaml",
        "version: 1
providers:
  a: {kind: openai, api_key: {env: KEY}}
  b: {kind: openai, api_key: {file: key}}
  c: {kind: openai, api_key: {credential: openai}}
",
    );
    let config = bench.load(Some("kt.yaml")).unwrap();
    let keys: Vec<_> = config.routing.providers.iter().map(|p| p.credential.as_ref().unwrap().expose()).collect();
    assert_eq!(keys, [CANARY.to_owned(), format!("{CANARY}-file"), format!("{CANARY}-systemd")]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    for output in [format!("{config:?}"), config.show()] {
        assert!(!output.contains(CANARY), "{output}");
    }
}

#[test]
fn a_key_that_anybody_can_read_is_a_warning() {
    let bench = Bench::new()
        .file("key", CANARY)
        .file("kt.yaml", "version: 1\nproviders: {a: {kind: openai, api_key: {file: key}}}\n");
    fs::set_permissions(bench.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let config = bench.load(Some("kt.yaml")).unwrap();
    let found = warnings(&config);
    assert!(
        found.len() == 1 && found[0].contains(":2: providers.a.api_key: every user of this machine can read"),
        "{found:?}"
    );
}

#[test]
fn unencrypted_traffic_to_another_machine_is_a_warning() {
    let config = read(
        "providers:\n  a: {kind: openai_compatible, base_url: http://vllm.example:8000}\n  b: {kind: openai_compatible, base_url: \"http://[::1]:8000\"}\n",
    );
    let found = warnings(&config);
    assert!(found.len() == 1 && found[0].contains(":3: providers.a.base_url: http to another machine"), "{found:?}");
}

// Models

const LOCAL: &str = "providers: {local: {kind: openai_compatible, base_url: \"http://127.0.0.1:1\"}}\n";

#[test]
fn model_rules_keep_their_order() {
    let config = read(&format!(
        "{LOCAL}models:\n  - {{name: fast, serves: big-1, providers: [local]}}\n  - name: \"*\"\n    providers:\n      - local\n"
    ));
    let choice = config.routing.choose(Dialect::OpenAi, "fast", None, |_| true).unwrap();
    assert_eq!((&*choice.provider.name, choice.serves.as_deref()), ("local", Some("big-1")));
    assert_eq!(config.routing.models[1].name, "*");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn an_incomplete_model_rule_says_what_is_missing() {
    let found = faults_of(&format!(
        "{LOCAL}models: [{{serves: \"x*\", providers: []}}, {{name: y, providers: [local, local]}}]\n"
    ));
    assert_eq!(
        found,
        [
            "models[0].name: missing; the model's name as clients write it; * stands for any characters",
            "models[0].serves: the name of one model, without * and ?",
            "models[0].providers: missing; name at least one: providers: [NAME]",
            "models[1].providers[1]: named twice in the same list",
        ]
    );
}

#[test]
fn a_list_that_is_none_is_one_fault() {
    let found = faults_of(&format!("{LOCAL}models: [{{name: x, providers: local}}]\n"));
    assert_eq!(found, ["models[0].providers: expected a list, `[…]` or a line with - for each"]);
}

#[test]
fn a_faulty_provider_does_not_make_its_rules_faulty() {
    let found =
        faults_of("providers: {a: {kind: openai, api_key: {env: MISSING}}}\nmodels: [{name: x, providers: [a]}]\n");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_rule_that_is_never_reached_is_a_warning() {
    let unreached = |earlier: &str, later: &str| {
        let rule = |name| format!("  - {{name: \"{name}\", providers: [local]}}\n");
        let config = read(&format!("{LOCAL}models:\n{}{}", rule(earlier), rule(later)));
        config.warnings.iter().any(|warning| warning.line() == 5 && warning.to_string().contains("never reached"))
    };
    for (earlier, later) in
        [("gpt-*", "gpt-4o"), ("gpt-*", "gpt-4*"), ("*", "x"), ("a", "a"), ("a?", "ab"), ("*-?", "x-?")]
    {
        assert!(unreached(earlier, later), "{earlier} {later}");
    }
    for (earlier, later) in [("gpt-4o", "gpt-*"), ("a?", "a*"), ("gpt-4*", "gpt-*"), ("a", "b")] {
        assert!(!unreached(earlier, later), "{earlier} {later}");
    }
}

// Environment and defaults

#[test]
fn without_a_file_the_environment_decides() {
    let bench = Bench::new()
        .with("OPENAI_API_KEY", CANARY)
        .with("ANTHROPIC_API_KEY", CANARY)
        .with("GEMINI_API_KEY", CANARY)
        .with("OPENAI_BASE_URL", "https://llm.example/openai/v1/");
    let config = bench.load(None).unwrap();
    let [openai, anthropic, gemini] = [0, 1, 2].map(|at| &config.routing.providers[at]);
    assert_eq!((openai.kind, openai.base_url.to_string()), (Kind::OpenAi, "https://llm.example/openai".into()));
    assert_eq!((anthropic.kind, &*anthropic.name), (Kind::Anthropic, "anthropic"));
    let vendor = "https://generativelanguage.googleapis.com";
    assert_eq!((gemini.kind, gemini.base_url.to_string()), (Kind::Gemini, vendor.into()));
    assert_eq!(config.source, Source::Environment);
    assert_eq!((config.organization.as_str(), config.gateway.as_str()), ("default", "gateway"));
    let Listen { edge, admin, metrics } = config.listen;
    assert_eq!(
        [edge, admin, metrics].map(|a| a.to_string()),
        ["127.0.0.1:41002", "127.0.0.1:41003", "127.0.0.1:41004"]
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn faults_in_the_environment_name_the_variable() {
    let bench = Bench::new().with("OPENAI_API_KEY", "sk-canary x").with("OPENAI_BASE_URL", "api.openai.com");
    let report = bench.load(None).unwrap_err().to_string();
    assert_eq!(
        report,
        "environment: OPENAI_BASE_URL: a provider's URL begins with https:// or http://\n\
         environment: OPENAI_API_KEY: the key holds a space, a control character or one that is not ASCII; copy it again\n\
         2 faults in the configuration"
    );
}

#[test]
fn without_a_provider_the_gateway_starts_and_warns() {
    let found = warnings(&Bench::new().with("OPENAI_API_KEY", "").with("GEMINI_API_KEY", "").load(None).unwrap());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("environment: providers: no provider is configured"), "{found:?}");
    assert!(warnings(&read(""))[0].contains("no_provider"));
}

#[test]
fn a_file_decides_over_the_providers_of_the_environment() {
    let bench = Bench::new().with("OPENAI_API_KEY", CANARY).file("kt.yaml", "version: 1\n");
    assert!(bench.load(Some("kt.yaml")).unwrap().routing.providers.is_empty());
}

#[test]
fn the_data_directory_is_found_in_order() {
    let found = |bench: &Bench, overrides| bench.load_with(Some("kt.yaml"), overrides).unwrap().data_dir;
    let given = Overrides { data_dir: Some("/given".into()), ..Overrides::default() };
    let bench = Bench::new()
        .file("kt.yaml", "version: 1\ndata_dir: /written\n")
        .with("STATE_DIRECTORY", "/state:/other")
        .with("XDG_DATA_HOME", "/xdg")
        .with("KEEPTRUSTS_DATA_DIR", "/variable");
    assert_eq!(found(&bench, given), Path::new("/given"));
    assert_eq!(found(&bench, Overrides::default()), Path::new("/variable"));
    let bench = bench.without("KEEPTRUSTS_DATA_DIR");
    assert_eq!(found(&bench, Overrides::default()), Path::new("/written"));
    let bench = bench.file("kt.yaml", "version: 1\n");
    assert_eq!(found(&bench, Overrides::default()), Path::new("/state"));
    let bench = bench.without("STATE_DIRECTORY");
    assert_eq!(found(&bench, Overrides::default()), Path::new("/xdg/keeptrusts"));
    let bench = bench.with("XDG_DATA_HOME", "relative");
    assert_eq!(found(&bench, Overrides::default()), Path::new("/home/jane/.local/share/keeptrusts"));
    let report = bench.without("HOME").load(Some("kt.yaml")).unwrap_err().to_string();
    assert!(report.contains("kt.yaml: data_dir: nowhere to keep data"), "{report}");
}

#[test]
fn a_gateway_is_called_like_its_machine_if_that_is_a_name() {
    struct Machine(&'static str);
    impl Environment for Machine {
        fn variable(&self, _: &str) -> Option<OsString> {
            Some("/x".into())
        }
        fn host_name(&self) -> Option<String> {
            Some(self.0.into())
        }
    }
    let name = |host| {
        let bench = Bench::new().file("kt.yaml", "version: 1\n");
        load(Some(&bench.path("kt.yaml")), Overrides::default(), &Machine(host)).unwrap().gateway.to_string()
    };
    assert_eq!(
        (name("edge-1.acme\n"), name("\n"), name("bad host\n")),
        ("edge-1.acme".into(), "gateway".into(), "gateway".into())
    );
}

// What is shipped

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

fn shipped_environment(name: &str) -> Option<OsString> {
    [
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
        "AZURE_OPENAI_API_KEY",
        "KEEPTRUSTS_DEMO_PROVIDER_KEY",
        "HOME",
    ]
    .contains(&name)
    .then(|| CANARY.into())
}

#[test]
fn the_reference_configuration_loads_and_shows_the_defaults() {
    let load = |file: Option<PathBuf>| {
        load(file.as_deref(), Overrides::default(), &shipped_environment).unwrap_or_else(|faults| panic!("{faults}"))
    };
    let reference = load(Some(shipped("keeptrusts.yaml")));
    let default = load(None);
    assert!(reference.warnings.is_empty(), "{:?}", reference.warnings);
    // Its policies are examples; by default there are none.
    assert!(!reference.settings.policies.is_empty() && default.settings.policies.is_empty());
    let settings = Settings { policies: Arc::default(), ..reference.settings.clone() };
    assert_eq!(format!("{settings:?}"), format!("{:?}", default.settings));
    assert_eq!((reference.listen, reference.log), (default.listen, default.log));
    assert_eq!((&reference.organization, &reference.gateway), (&default.organization, &default.gateway));
    assert_eq!(
        (reference.metrics_keys_max, reference.journal_capacity),
        (default.metrics_keys_max, default.journal_capacity)
    );
    assert_eq!(reference.prices.version(), default.prices.version());
}

#[test]
fn the_reference_configuration_names_every_setting() {
    let text = fs::read_to_string(shipped("keeptrusts.yaml")).unwrap();
    let report = Report::new("reference");
    let root = yaml::parse(&text, &report).unwrap();
    Written::read(&root, Path::new(""), &report);
    let names =
        |name: &&&str| !text.lines().any(|line| line.split([' ', '{', '#']).any(|word| word == format!("{name}:")));
    let known = report.known();
    assert!(known.len() > 30, "{known:?}");
    let missing: Vec<_> = known.iter().filter(names).collect();
    assert!(missing.is_empty(), "not in conf/keeptrusts.yaml: {missing:?}");
}

#[test]
fn the_demo_configuration_loads_with_another_address_of_its_provider() {
    let environment = |name: &str| shipped_environment(name);
    let config = load(Some(&*shipped("demo.yaml")), Overrides::default(), &environment).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let config = demo("127.0.0.1:5".parse().unwrap(), Overrides::default(), &environment).unwrap();
    assert_eq!(config.organization.as_str(), "demo");
    let urls: BTreeSet<_> = config.routing.providers.iter().map(|provider| provider.base_url.to_string()).collect();
    assert_eq!(urls.into_iter().collect::<Vec<_>>(), ["http://127.0.0.1:5"]);
    assert_eq!(config.routing.providers.len(), 2);
}

#[test]
fn shown_settings_are_yaml_and_hold_no_secret() {
    let config = load(Some(&*shipped("keeptrusts.yaml")), Overrides::default(), &shipped_environment).unwrap();
    let shown = config.show();
    assert!(!shown.contains(CANARY));
    assert!(shown.contains("    api_key: (from env OPENAI_API_KEY)\n"), "{shown}");
    let report = Report::new("shown");
    let root = yaml::parse(&shown, &report).unwrap();
    Written::read(&root, Path::new(""), &report);
    let faults = report.close().unwrap_err();
    let faulty: Vec<_> = faults.iter().map(Finding::setting).collect();
    assert_eq!(
        faulty,
        [
            "providers.openai.api_key",
            "providers.anthropic.api_key",
            "providers.gemini.api_key",
            "providers.azure-eu.api_key",
            "providers.local.api_key"
        ],
        "{faults}"
    );
}

// Prices

fn prices() -> PriceTable {
    let report = Report::new("test");
    let table = prices::built_in(&report);
    report.close().unwrap_or_else(|faults| panic!("{faults}"));
    table
}

fn found<'a>(table: &'a PriceTable, model: &str) -> &'a ModelPrice {
    let now = Timestamp::parse("2026-11-23T12:00:00Z").unwrap();
    table.find("anyone", model, now).unwrap_or_else(|| panic!("no {model}"))
}

fn price(model: &str) -> ModelPrice {
    ModelPrice::clone(found(&prices(), model))
}

/// Input, cache read, cache write, long cache write, output, in pico-USD per token.
fn rates(rates: &crate::domain::Rates) -> [u64; 5] {
    [rates.input, rates.cache_read, rates.cache_write, rates.cache_write_long, rates.output].map(|price| price.0)
}

fn read_prices(models: &str) -> PriceTable {
    let report = Report::new("test");
    let table = prices::read(&format!("version: v1\nmodels: {{acme: {models}}}\n"), &report);
    report.close().unwrap_or_else(|faults| panic!("{faults}"));
    table
}

#[test]
fn the_built_in_prices_are_those_of_the_sources() {
    assert_eq!((prices().iter().count(), &**prices().version()), (76, "2026-11-23.2"));
    let ordinary = |model| rates(&price(model).rates);
    assert_eq!(ordinary("gpt-6.1-sol"), [2_000_000, 100_000, 2_500_000, 5_000_000, 10_000_000]);
    assert_eq!(ordinary("gpt-4o-mini"), [150_000, 75_000, 150_000, 150_000, 600_000]);
    assert_eq!(ordinary("gpt-5-nano"), [50_000, 5_000, 50_000, 50_000, 400_000]);
    assert_eq!(ordinary("claude-sonnet-4-5"), [3_000_000, 300_000, 3_750_000, 6_000_000, 15_000_000]);
    assert_eq!(ordinary("claude-haiku-5-5"), [100_000, 10_000, 125_000, 200_000, 500_000]);
    assert_eq!(ordinary("gemini-2.5-flash-lite"), [100_000, 10_000, 100_000, 100_000, 400_000]);
    assert_eq!(ordinary("mistral-large-4-0"), [1_360_000, 140_000, 1_360_000, 1_360_000, 4_180_000]);
    assert_eq!(ordinary("deepseek-v4-pro"), [1_320_000, 44_000, 0, 0, 3_960_000]);
    assert_eq!(ordinary("kimi-k3"), [3_000_000, 300_000, 3_000_000, 6_000_000, 15_000_000]);
    assert_eq!(ordinary("text-embedding-3-small"), [20_000, 20_000, 20_000, 20_000, 0]);
    let vendors: BTreeSet<_> = prices().iter().map(|price| price.vendor.to_string()).collect();
    let expected = ["anthropic", "deepseek", "gemini", "mistral", "moonshot", "openai", "xai", "zai"];
    assert_eq!(vendors, expected.map(str::to_owned).into());
    for kind in Kind::ALL {
        assert!(kind.vendor().is_none_or(|vendor| expected.contains(&vendor)), "{kind:?}");
    }
}

#[test]
fn tiers_replace_prices_and_scale_cache_writes() {
    let sol = price("gpt-6.1-sol");
    assert_eq!(sol.tiers.iter().map(|tier| tier.input_tokens_above).collect::<Vec<_>>(), [272_000]);
    assert_eq!(rates(&sol.tiers[0].rates), [4_000_000, 200_000, 5_000_000, 10_000_000, 15_000_000]);
    assert_eq!(rates(&price("gemini-2.5-pro").tiers[0].rates), [2_500_000, 250_000, 2_500_000, 2_500_000, 15_000_000]);
    assert_eq!(price("grok-4.7").tiers[0].input_tokens_above, 199_000);
    assert!(price("gpt-4o").tiers.is_empty());
}

#[test]
fn what_an_entry_leaves_out_follows_the_documented_rules() {
    let table = read_prices(
        "{m: {input: 1, cache_write: 3, output: 5, above: {input_tokens: 10, input: 2, cache_write_long: 0}}, n: {input: 0, cache_read: 2, cache_write: 1, output: 4, above: {input_tokens: 10, output: 8}}}",
    );
    let all = |name: &str| {
        let price = found(&table, name);
        [rates(&price.rates), rates(&price.tiers[0].rates)].map(|rates| rates.map(|rate| rate / 1_000_000))
    };
    assert_eq!(all("m"), [[1, 1, 3, 3, 5], [2, 2, 6, 0, 5]]);
    assert_eq!(all("n"), [[0, 2, 1, 1, 4], [0, 2, 1, 1, 8]]);
}

#[test]
fn costs_agree_with_what_claude_code_prints() {
    // 25 plain, 200 written for 5 minutes, 100 for an hour, 1500 read, 57 out: $0.00182.
    let tokens = Tokens {
        input: 1825,
        cache_read: 1500,
        cache_write: 300,
        cache_write_long: 100,
        output: 57,
        ..Tokens::default()
    };
    assert_eq!(price("claude-sonnet-5").cost(&tokens), NanoUsd(1_820_000));
}

#[test]
fn faults_in_prices_are_named_like_any_other() {
    let bench = Bench::new().file(
        "p.yaml",
        "version: v 1
models:
  acme:
    a: {input: 1e-3, output: -1}
    b: {input: 0.0000001, output: 1, above: {input: 2}}
    \"c d\": {input: 1, output: 1}
    e: 5
  other:
    b: {input: 1, output: 1}
    a: {input: 1, output: 1}
",
    );
    let found = bench.faults("version: 1\nprices: {file: p.yaml}\n");
    let begins = |fault: &String| fault.split("; ").next().unwrap().split(", ").next().unwrap().to_owned();
    assert_eq!(
        found.iter().map(begins).collect::<Vec<_>>(),
        [
            "p.yaml:1: version: a version has 1 to 64 letters",
            "p.yaml:4: models.acme.a.input: expected US dollars per million tokens like 0.15",
            "p.yaml:4: models.acme.a.output: expected US dollars per million tokens like 0.15",
            "p.yaml:5: models.acme.b.input: expected US dollars per million tokens like 0.15",
            "p.yaml:5: models.acme.b.above.input_tokens: missing",
            "p.yaml:6: models.acme.c d: a name has 1 to 128 characters and no spaces",
            "p.yaml:7: models.acme.e: expected settings",
        ]
    );
    let bench = Bench::new()
        .file("p.yaml", "version: v1\nmodels:\n  a: {m: {input: 1, output: 1}}\n  b: {m: {input: 1, output: 1}}\n");
    let found = bench.faults("version: 1\nprices: {file: p.yaml}\n");
    assert_eq!(found, ["p.yaml:4: models.b.m: a has a model of this name, too; one of them must go"]);
    let found = faults("version: 1\nprices: {file: absent.yaml}\n");
    assert!(found[0].contains("kt.yaml:2: prices.file: failed to read"), "{found:?}");
}
