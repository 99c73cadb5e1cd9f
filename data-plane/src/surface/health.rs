//! `GET /health`: the process answers. Whether it should get traffic is told on the operations port.

use bytes::Bytes;
use http::Response;

use super::json;
use crate::exchange::deliver::ReplyBody;

/// Always the same.
pub(super) fn answer() -> Response<ReplyBody> {
    json(Bytes::from_static(b"{\"status\":\"ok\"}"))
}
