//! `GET /v1/prices`: the price table that requests are priced by.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::admin::Admin;
use crate::control::admin::extract::Json;
use crate::domain::{PriceRow, Unknown};

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PriceList {
    /// What costs refer to.
    pub version: String,
    /// What becomes of requests for models that have no price: allow or deny.
    #[schema(value_type = String)]
    pub unknown: Unknown,
    /// Prices in trillionths of a US dollar per token, and for searches per search; factors in thousandths.
    #[schema(value_type = Vec<Object>)]
    pub rows: Vec<PriceRow>,
}

#[utoipa::path(
    get, path = "/v1/prices", operation_id = "read_prices", tag = "usage",
    responses((status = 200, description = "Every price", body = PriceList)),
)]
pub(in crate::control::admin) async fn handler(State(admin): State<Arc<Admin>>) -> Json<PriceList> {
    let catalog = admin.catalog.load();
    let table = &catalog.prices;
    Json(PriceList { version: table.version().to_string(), unknown: table.unknown(), rows: table.rows().collect() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn it_shows_the_table_in_force() {
        let shown = Bench::new().await.get("/v1/prices").await.expect(200);
        assert_eq!(shown, json!({"version": "", "unknown": "allow", "rows": []}));
    }
}
