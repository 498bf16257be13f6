use quinn::Endpoint;
use serde::{Deserialize, Serialize};
use snapferry::transport::serving::{ServeContext, serve};
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    Nothing,
}
impl Lie {
    pub const ALL: &'static [Self] = &[Self::Nothing];
}
pub async fn serve_lies(endpoint: Endpoint, context: ServeContext, _: Lie) {
    serve(endpoint, context).await
}
