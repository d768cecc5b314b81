//! An expression → the expression of its unfinished matches: every text that more text could complete or extend.

use regex_syntax::hir::{Hir, HirKind, Repetition};

/// Matches what `hir` would match if more came, and nothing that it has matched for good.
pub fn unfinished(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Empty => Hir::fail(),
        HirKind::Literal(literal) => beginning(&literal.0),
        HirKind::Class(_) => Hir::empty(),
        // What stands behind it has to be seen first.
        HirKind::Look(_) => Hir::empty(),
        HirKind::Capture(capture) => unfinished(&capture.sub),
        HirKind::Repetition(repetition) => repeated(repetition),
        HirKind::Concat(parts) => {
            let mut rest = Hir::fail();
            for part in parts.iter().rev() {
                let behind = Hir::concat(vec![part.clone(), rest]);
                rest = Hir::alternation(vec![unfinished(part), behind]);
            }
            rest
        }
        HirKind::Alternation(branches) => Hir::alternation(branches.iter().map(unfinished).collect()),
    }
}

/// The literal without its last character, or less of it.
fn beginning(literal: &[u8]) -> Hir {
    let text = String::from_utf8_lossy(literal);
    let mut chars: Vec<char> = text.chars().collect();
    chars.pop();
    let mut rest = Hir::empty();
    for char in chars.into_iter().rev() {
        let longer = Hir::concat(vec![Hir::literal(char.to_string().into_bytes()), rest]);
        rest = Hir::alternation(vec![longer, Hir::empty()]);
    }
    rest
}

fn repeated(repetition: &Repetition) -> Hir {
    if repetition.max == Some(0) {
        return Hir::fail();
    }
    let max = repetition.max.map(|max| max - 1);
    let whole = Hir::repetition(Repetition { min: 0, max, greedy: true, sub: repetition.sub.clone() });
    Hir::concat(vec![whole, unfinished(&repetition.sub)])
}
