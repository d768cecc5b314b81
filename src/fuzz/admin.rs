//! The bodies of the admin API, which scripts write.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::control::admin::v1::admin_tokens::create::CreateAdminToken;
use crate::control::admin::v1::revocations::RevokeTokens;
use crate::control::admin::v1::teams::create::CreateTeam;
use crate::control::admin::v1::teams::update::UpdateTeam;
use crate::control::admin::v1::tokens::create::CreateToken;
use crate::control::admin::v1::tokens::rotate::RotateToken;
use crate::control::admin::v1::tokens::update::UpdateToken;

/// What is read of a body can be written, and is then read the same.
pub fn admin(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    match which % 7 {
        0 => reads::<CreateToken>(body),
        1 => reads::<UpdateToken>(body),
        2 => reads::<RotateToken>(body),
        3 => reads::<RevokeTokens>(body),
        4 => reads::<CreateTeam>(body),
        5 => reads::<UpdateTeam>(body),
        _ => reads::<CreateAdminToken>(body),
    }
}

fn reads<T: DeserializeOwned + Serialize + Debug>(body: &[u8]) {
    let Ok(asked) = serde_json::from_slice::<T>(body) else { return };
    let written = serde_json::to_vec(&asked).unwrap();
    let again: T = serde_json::from_slice(&written).unwrap_or_else(|error| panic!("{error} in {asked:?}"));
    // Of numbers with more digits than a double has, the last may change.
    let is_exact = !body.split(|byte| !byte.is_ascii_digit() && *byte != b'.').any(|digits| digits.len() > 15);
    assert!(!is_exact || serde_json::to_vec(&again).unwrap() == written, "{asked:?}");
}
