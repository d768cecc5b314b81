use super::*;

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
