//! Other languages' parsers, with which clients write their requests and providers read them: about a body that is
//! let through they must never disagree on the model.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use crate::protocol::Endpoint;
use crate::protocol::ask;

use super::smoke::Corpus;

const BODIES: usize = 300_000;

/// For each line, a body in hexadecimal digits: the model, again in hexadecimal digits, or a word.
const PYTHON: &str = r#"
import json, sys
for line in sys.stdin:
    try:
        value = json.loads(bytes.fromhex(line))
        model = value["model"]
        print("=" + model.encode("utf-8", "surrogatepass").hex())
    except RecursionError:
        print("too deep")
    except Exception as error:
        print("refused", type(error).__name__)
"#;
const JAVASCRIPT: &str = r#"
const out = [];
for (const line of require("fs").readFileSync(0, "utf8").split("\n").slice(0, -1)) {
    try {
        const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.from(line, "hex"));
        out.push("=" + Buffer.from(JSON.parse(text).model, "utf8").toString("hex"));
    } catch (error) {
        out.push(error instanceof RangeError ? "too deep" : "refused " + error.name);
    }
}
process.stdout.write(out.join("\n") + "\n");
"#;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_by(program: &str, arguments: [&str; 2], lines: &str) -> Vec<String> {
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, lines) = (child.stdin.take().unwrap(), lines.to_owned());
    let writer = thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{program}: {}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(Into::into).collect()
}

#[test]
#[ignore = "needs Python and Node; CONTRIBUTING.md says when"]
fn no_parser_reads_another_model() {
    let mut corpus = Corpus::of("ask");
    let body = |mut bytes: Vec<u8>| bytes.split_off(1.min(bytes.len()));
    let bodies: Vec<Vec<u8>> = (0..BODIES).map(|_| body(corpus.mutation())).collect();
    let lines: String = bodies.iter().map(|body| hex(body) + "\n").collect();
    let python = read_by("python3", ["-c", PYTHON], &lines);
    let javascript = read_by("node", ["-e", JAVASCRIPT], &lines);
    assert!(python.len() == BODIES && javascript.len() == BODIES);
    let (mut passed, mut too_deep) = (0, 0);
    for (body, (python, javascript)) in bodies.iter().zip(python.iter().zip(&javascript)) {
        let Ok(head) = ask::read(Endpoint::ChatCompletions, body) else { continue };
        passed += 1;
        let ours = format!("={}", hex(head.model.as_bytes()));
        for theirs in [python, javascript] {
            too_deep += usize::from(theirs == "too deep");
            assert!(*theirs == ours || theirs == "too deep", "{theirs} for {}", String::from_utf8_lossy(body));
        }
    }
    println!("{BODIES} bodies, {passed} let through, all with one model ({too_deep} too deep for one of the others)");
    assert!(passed > BODIES / 100, "too few were let through to say anything");
}
