//! What an operator is told of policies before they are in force.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::kt;

const CONFIG: &str = "version: 1
providers:
  openai: {kind: openai, api_key: {env: TEST_OPENAI_KEY}}
policies:
  - {name: watch, phase: input, action: observe, detect: [ip_address]}
  - {name: secrets, detect: [aws_key], tests: [{text: \"AKIAIOSFODNN7EXAMPLE\", expect: redact}, {text: none, expect: pass}]}
  - {name: px, phase: input, action: block, keywords: [Project X], scope: {teams: [lab]}}
";

/// What a command says, and whether it succeeds.
fn run(config: &str, args: &[&str], input: &str) -> (bool, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("keeptrusts.yaml");
    std::fs::write(&path, config).unwrap();
    let (head, rest) = args.split_at(2);
    let mut command = Command::new(kt());
    command.args(head).arg("--config").arg(&path).args(rest).env("TEST_OPENAI_KEY", "sk-x");
    let pipe = || Stdio::piped();
    let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn a_text_from_standard_input() {
    let (ok, said) = run(CONFIG, &["policy", "test"], "id AKIAIOSFODNN7EXAMPLE from 10.1.2.3\n");
    assert!(ok, "{said}");
    assert!(said.starts_with("REDACT\n") && said.ends_with("id [REDACTED:AWS_KEY] from 10.1.2.3\n"), "{said}");
    assert!(said.contains("watch") && said.contains("observe"), "{said}");
    let (ok, said) = run(CONFIG, &["policy", "test"], "nothing");
    assert_eq!((ok, said.as_str()), (true, "PASS\nnothing\n"));
}

#[test]
fn a_body_from_a_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("body.json");
    let body =
        json!({"model": "AKIAIOSFODNN7EXAMPLE", "messages": [{"role": "user", "content": "AKIAIOSFODNN7EXAMPLE"}]});
    std::fs::write(&file, body.to_string()).unwrap();
    let (ok, said) = run(CONFIG, &["policy", "test", "--json", file.to_str().unwrap()], "");
    assert!(ok, "{said}");
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&told["verdict"], &told["policies"][0]["matches"]), (&json!("REDACT"), &json!(1)));
    let mut becomes = body;
    becomes["messages"][0]["content"] = json!("[REDACTED:AWS_KEY]");
    assert_eq!(told["becomes"], becomes.to_string());
}

#[test]
fn whom_a_policy_is_for() {
    let (_, said) = run(CONFIG, &["policy", "test", "--team", "lab"], "Project X");
    assert!(said.starts_with("BLOCK\n") && !said.ends_with("Project X\n"), "{said}");
    let (_, said) = run(CONFIG, &["policy", "test"], "Project X");
    assert!(said.starts_with("PASS\n"), "{said}");
    let (_, said) = run(CONFIG, &["policy", "test", "--team", "lab", "--phase", "output"], "Project X");
    assert!(said.starts_with("PASS\n"), "{said}");
}

#[test]
fn tests_of_policies_run_when_the_file_is_checked() {
    let (ok, said) = run(CONFIG, &["config", "check"], "");
    assert!(ok, "{said}");
    let failing = CONFIG.replace("expect: pass", "expect: block");
    let (ok, said) = run(&failing, &["config", "check"], "");
    assert!(!ok && said.contains("the test fails: expected block, found pass"), "{said}");
    let compact = format!(
        "{CONFIG}  - {{name: staff, type: redaction, phase: input, config: {{patterns: [{{name: n, regex: 'E\\d{{6}}', \
         replacement: E}}]}}, tests: [{{text: E123456, becomes: E}}]}}\n"
    );
    let (ok, said) = run(&compact, &["config", "check"], "");
    assert!(ok, "{said}");
    let (ok, said) = run(&compact, &["policy", "test"], "number E123456");
    assert!(ok && said.ends_with("number E\n"), "{said}");
}
