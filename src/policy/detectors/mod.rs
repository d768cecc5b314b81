//! What there is to find: the one table of built-in detectors.
//!
//! `docs/POLICIES.md` is compared with it, and each row's examples are its tests. What has a fixed beginning is an
//! expression; what is told by its digits is scanned for by hand, because a checksum says more than a shape.

mod credentials; // keys and tokens, by their fixed beginnings
mod scanner; // what all hand-written detectors have in common
mod runs; // where the digits of a text are
mod email; // addresses around an @
mod card; // payment cards: issuer, length, Luhn
mod iban; // bank accounts: country, length, mod 97
mod phone; // international numbers, and those of North America as they are written
mod ip; // IP addresses of either version
mod ssn; // US social security numbers

pub use scanner::{Scanner, Scanners};

/// Something that can be found by its name.
#[derive(Debug, PartialEq, Eq)]
pub struct Detector {
    pub name: &'static str,
    /// What it finds, in a sentence.
    pub meaning: &'static str,
    pub how: How,
    /// Texts that it finds: exactly what stands between `«` and `»`.
    pub finds: &'static [&'static str],
    /// Texts that look like it and are passed by.
    pub passes: &'static [&'static str],
}

/// How it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Expression(&'static str),
    Scan(Scanner),
}

/// Every detector there is.
pub fn all() -> impl Iterator<Item = &'static Detector> {
    credentials::TABLE.iter().chain(PERSONAL)
}

/// The detector called `name`.
pub fn named(name: &str) -> Option<&'static Detector> {
    all().find(|detector| detector.name == name)
}

const PERSONAL: &[Detector] = &[
    Detector {
        name: "email",
        meaning: "An e-mail address: up to 64 characters, @, and a domain with a dot and a top level of letters.",
        how: How::Scan(Scanner::Email),
        finds: &["write to «jane.doe+x@mail.example.com».", "<«a@b.co»>", "mailto:«jane@example.org»?subject=x"],
        passes: &["@override", "left-pad@1.2.3", "user@localhost", "a @ b.com"],
    },
    Detector {
        name: "phone",
        meaning: "A telephone number: + and 8 to 15 digits with blanks, dots, hyphens or brackets between them, or a \
                  North American number as it is written (555 area codes included).",
        how: How::Scan(Scanner::Phone),
        finds: &[
            "call «+49 30 1234567» now",
            "«(212) 555-0143»",
            "«212-555-0143»,",
            "«1-800-555-0199»",
            "«+12125550143»",
        ],
        passes: &["2125550143", "1234-567-8901", "112-555-0143", "x212-555-0143", "+1 2", "2024-01-15"],
    },
    Detector {
        name: "payment_card",
        meaning: "A payment card number: an issuer's first digits, 13 to 19 digits in groups of at least four, and \
                  the check digit (Luhn).",
        how: How::Scan(Scanner::PaymentCard),
        finds: &[
            "card «4111 1111 1111 1111» 12/27",
            "«4111111111111111»",
            "«3782-822463-10005»",
            "«5555555555554444».",
        ],
        passes: &[
            "4111111111111112",
            "x4111111111111111",
            "1234567890123456",
            "4111 1111 1111 11112",
            "0.4111111111111111",
        ],
    },
    Detector {
        name: "iban",
        meaning: "An international bank account number: its country's length and the check digits (mod 97), plain or in \
                  groups of four.",
        how: How::Scan(Scanner::Iban),
        finds: &["to «DE89 3704 0044 0532 0130 00»,", "«GB82WEST12345698765432»", "«FR1420041010050500013M02606»"],
        passes: &[
            "DE89370400440532013001",
            "XX89370400440532013000",
            "DE8937040044053201300",
            "ADE89370400440532013000",
        ],
    },
    Detector {
        name: "ssn",
        meaning: "A US social security number written with hyphens, in the ranges that are issued.",
        how: How::Scan(Scanner::Ssn),
        finds: &["SSN «078-05-1120»", "(«219-09-9999»)"],
        passes: &[
            "000-12-3456",
            "666-12-3456",
            "912-12-3456",
            "123-00-4567",
            "123-45-0000",
            "123456789",
            "1123-45-6789",
        ],
    },
    Detector {
        name: "ip_address",
        meaning: "An IP address: four numbers up to 255 with dots, or version 6 with a digit in its first group. Not those \
                  that mean this machine or none (127.0.0.1, 0.0.0.0, 255.255.255.255).",
        how: How::Scan(Scanner::IpAddress),
        finds: &[
            "from «10.1.2.3»:8080",
            "«192.168.0.1»/24",
            "[«2001:db8::1»]",
            "«fe80::a:b», and",
            "at «203.0.113.7».",
        ],
        passes: &[
            "127.0.0.1",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "12:30:45",
            "std::vec",
            "00:1a:2b:3c:4d:5e",
            "add::bad",
        ],
    },
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::policy::scan::Active;
    use crate::policy::{Action, Policy, Spec};

    use super::*;

    fn active(detector: &'static Detector) -> Active {
        let spec = Spec { detect: vec![detector], ..Spec::new("test", Action::Redact) };
        Active::new(vec![Arc::new(Policy::compile(spec).unwrap())], None)
    }

    fn found<'t>(active: &Active, text: &'t str) -> Vec<&'t str> {
        let mut findings = Vec::new();
        active.find(text, &[], &mut findings);
        findings.iter().map(|finding| &text[finding.start..finding.end]).collect()
    }

    #[test]
    fn each_detector_finds_its_examples_and_nothing_else() {
        for detector in all() {
            let active = active(detector);
            assert!(!detector.finds.is_empty() && !detector.passes.is_empty(), "{}", detector.name);
            for example in detector.finds {
                let text = example.replace(['«', '»'], "");
                let expected = &example[example.find('«').unwrap() + '«'.len_utf8()..example.find('»').unwrap()];
                assert_eq!(found(&active, &text), [expected], "{} in {text}", detector.name);
            }
            for text in detector.passes {
                assert!(found(&active, text).is_empty(), "{} in {text}: {:?}", detector.name, found(&active, text));
            }
        }
    }

    /// The contract between detectors and streams: what begins before the first open place stays the same.
    #[test]
    fn whatever_follows_changes_nothing_before_the_first_open_place() {
        for detector in all() {
            let active = active(detector);
            let texts = detector.finds.iter().map(|text| text.replace(['«', '»'], ""));
            for text in texts.chain(detector.passes.iter().map(|text| (*text).to_owned())) {
                let mut whole = Vec::new();
                active.find(&text, &[], &mut whole);
                for (split, _) in text.char_indices() {
                    let beginning = &text[..split];
                    let open = active.open(beginning, 0);
                    let mut early = Vec::new();
                    active.find(beginning, &[], &mut early);
                    let decided = |found: &Vec<super::super::scan::Finding>| {
                        found.iter().filter(|finding| finding.start < open).copied().collect::<Vec<_>>()
                    };
                    assert_eq!(decided(&early), decided(&whole), "{}: {beginning:?} of {text:?}", detector.name);
                }
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().map(|detector| detector.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count());
        assert!(named("aws_key").is_some() && named("nothing").is_none());
    }
}
