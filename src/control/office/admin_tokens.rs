//! Admin tokens: made, revoked.

use serde_json::json;

use crate::control::store::{Actor, AdminRole, AdminToken, AdminTokenRemoval, Audit, PAGE_MAX};
use crate::control::{ids, now};
use crate::domain::{KeyKind, KeyText};

use super::{ADMIN_TOKEN_PREFIXES, Desk, Office, OfficeError, checked_name, taken};

impl Office {
    /// Makes an admin token and gives its clear text, which is kept nowhere.
    pub(crate) async fn create_admin_token(
        &self,
        name: String,
        role: AdminRole,
        actor: Actor,
    ) -> Result<(AdminToken, KeyText), OfficeError> {
        self.to_the_end(|desk| async move { desk.create_admin_token(&name, role, actor).await }).await
    }

    /// Revokes the admin token with this id or name, but never the last of an admin.
    pub(crate) async fn revoke_admin_token(&self, token: String, actor: Actor) -> Result<AdminToken, OfficeError> {
        self.to_the_end(|desk| async move { desk.revoke_admin_token(&token, actor).await }).await
    }

    pub(crate) fn admin_tokens(&self) -> Vec<AdminToken> {
        self.desk.tokens.all().to_vec()
    }
}

impl Desk {
    async fn create_admin_token(
        &self,
        name: &str,
        role: AdminRole,
        actor: Actor,
    ) -> Result<(AdminToken, KeyText), OfficeError> {
        let name = checked_name(name, &ADMIN_TOKEN_PREFIXES)?;
        let text = KeyText::mint(KeyKind::Admin, getrandom::fill).map_err(OfficeError::Random)?;
        let token = AdminToken {
            id: ids::short_id("adm_").map_err(OfficeError::Random)?,
            name: name.to_string(),
            digest: self.pepper.digest(text.expose()),
            shown: text.shown().into(),
            created_at: now(),
            role,
        };
        let detail = json!({ "name": token.name, "role": role.label(), "shown": token.shown });
        let (target, time) = (token.id.clone(), token.created_at);
        let audit = Audit { actor, action: "admin_token.create", target, time, detail };
        let _turn = self.turn.lock().await;
        if self.tokens.all().len() >= PAGE_MAX {
            return Err(OfficeError::AdminTokensMax);
        }
        self.store.create_admin_token(token.clone(), audit).await.map_err(|error| taken(error, &token.name))?;
        self.tokens.add(&token);
        Ok((token, text))
    }

    async fn revoke_admin_token(&self, id_or_name: &str, actor: Actor) -> Result<AdminToken, OfficeError> {
        let _turn = self.turn.lock().await;
        let tokens = self.tokens.all();
        let found = tokens.iter().find(|token| token.id == id_or_name || token.name == id_or_name);
        let token = found.ok_or(OfficeError::AdminTokenUnknown)?.clone();
        let detail = json!({ "name": token.name, "role": token.role.label() });
        let audit = Audit { actor, action: "admin_token.revoke", target: token.id.clone(), time: now(), detail };
        match self.store.remove_admin_token(&token.id, audit).await? {
            AdminTokenRemoval::Removed => {
                self.tokens.remove(&token.id);
                Ok(token)
            }
            AdminTokenRemoval::Unknown => Err(OfficeError::AdminTokenUnknown),
            AdminTokenRemoval::Last => Err(OfficeError::AdminTokenLast),
        }
    }
}
