use super::*;

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
