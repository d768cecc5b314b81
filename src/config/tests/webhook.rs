use super::*;

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
