use super::*;

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
