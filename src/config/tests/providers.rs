use super::*;

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
