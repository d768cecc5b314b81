use super::*;

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
