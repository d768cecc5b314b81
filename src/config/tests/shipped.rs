use super::*;

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
