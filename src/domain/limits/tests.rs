use super::*;

fn limits(json: &str) -> Limits {
    serde_json::from_str(json).unwrap()
}

#[test]
fn limits_are_written_as_they_are_read() {
    let text = r#"{"rpm":60,"burst":5,"concurrency":4,"budgets":[{"usd":"50","per":"month","hard":true}],"models":{"gpt-*":{"tpm":1000}}}"#;
    assert_eq!(serde_json::to_string(&limits(text)).unwrap(), text);
    assert!(limits("{}").limit_nothing() && !limits(text).limit_nothing());
}

#[test]
fn what_makes_no_sense_is_not_read() {
    for text in [
        r#"{"rmp":60}"#,
        r#"{"rpm":0}"#,
        r#"{"rpm":-1}"#,
        r#"{"rpm":1.5}"#,
        r#"{"rpm":"5"}"#,
        r#"{"rpm":1000000000001}"#,
        r#"{"models":{"gpt-*":{"rmp":60}}}"#,
        r#"{"models":{"gpt 4":{"rpm":60}}}"#,
        r#"{"models":{"gpt-*":{"models":{}}}}"#,
        r#"{"budgets":[{"usd":"x","per":"day"}]}"#,
    ] {
        assert!(serde_json::from_str::<Limits>(text).is_err(), "{text}");
    }
    assert_eq!(limits(r#"{"burst":5}"#).check(), Err(LimitsError::Burst));
    let budgets = r#"{"usd":"5","per":"day"},"#.repeat(5);
    assert_eq!(
        limits(&format!(r#"{{"budgets":[{}]}}"#, &budgets[..budgets.len() - 1])).check(),
        Err(LimitsError::BudgetsTooMany)
    );
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let before = limits(r#"{"rpm":60,"tpm":1000,"models":{"gpt-*":{"rpm":5,"tpm":10},"o3":{"rpm":1}}}"#);
    let change = |json: &str| serde_json::from_str::<LimitsChange>(json).unwrap().applied_to(&before);
    let after = change(r#"{"rpm":null,"concurrency":3,"models":{"gpt-*":{"rpm":6},"o3":null}}"#).unwrap();
    assert_eq!(after, limits(r#"{"tpm":1000,"concurrency":3,"models":{"gpt-*":{"rpm":6,"tpm":10}}}"#));
    assert_eq!(change(r#"{"models":{"o3":{"rpm":null}}}"#).unwrap().models.len(), 1);
    assert_eq!(change("{}").unwrap(), before);
    assert!(change("null").unwrap().limit_nothing());
    assert!(change(r#"{"rmp":5}"#).is_err() && change("7").is_err() && change(r#"{"rpm":{"a":1}}"#).is_err());
}
