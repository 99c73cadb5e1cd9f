//! What the API documents of both planes have in common: groups left out, and the path everything is served below.
//!
//! Each plane generates its document from its own handlers; here it is only cut and addressed.

use std::collections::BTreeSet;

use serde::Serialize;
use utoipa::openapi::{OpenApi, ServerBuilder};

use crate::catalog::RouteGroups;

/// How a document names a schema.
const SCHEMA: &str = "\"#/components/schemas/";

/// Leaves out the routes of these groups, and the schemas that only they speak of.
pub fn leave_out(document: &mut OpenApi, groups: RouteGroups) {
    let before = document.paths.paths.len();
    document.paths.paths.retain(|path, _| !groups.hold(path));
    if document.paths.paths.len() == before {
        return;
    }
    let Some(components) = &mut document.components else { return };
    let mut wanted = BTreeSet::new();
    let mut found = schemas_in(&document.paths);
    found.extend(schemas_in(&components.responses));
    while let Some(name) = found.pop() {
        if let Some(schema) = components.schemas.get(&name)
            && wanted.insert(name)
        {
            found.extend(schemas_in(schema));
        }
    }
    components.schemas.retain(|name, _| wanted.contains(name));
}

/// Tells clients below which path everything is served.
pub fn serve_below(document: &mut OpenApi, prefix: &str) {
    if !prefix.is_empty() {
        document.servers = Some(vec![ServerBuilder::new().url(prefix).build()]);
    }
}

fn schemas_in(part: &impl Serialize) -> Vec<String> {
    let text = serde_json::to_string(part).unwrap_or_default();
    text.split(SCHEMA).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::catalog::RouteGroup;

    fn document() -> OpenApi {
        let schema = |name: &str| serde_json::json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } });
        let route = |name: &str| {
            let content = serde_json::json!({ "application/json": schema(name) });
            serde_json::json!({ "get": { "responses": { "200": { "description": "", "content": content } } } })
        };
        let object = serde_json::json!({ "type": "object" });
        serde_json::from_value(serde_json::json!({
            "openapi": "3.1.0",
            "info": { "title": "t", "version": "1" },
            "paths": { "/v1/models": route("Models"), "/v1/admin/roles": route("Roles"), "/v1/usage": route("Model") },
            "components": { "schemas": {
                "Models": { "type": "object", "properties": { "data": { "$ref": "#/components/schemas/Model" } } },
                "Model": { "type": "object", "properties": { "next": { "$ref": "#/components/schemas/Models" } } },
                "Roles": { "type": "object", "properties": { "data": { "$ref": "#/components/schemas/Role" } } },
                "Role": object,
            } },
        }))
        .unwrap()
    }

    #[test]
    fn what_is_left_out_leaves_nothing_behind() {
        let mut cut = document();
        leave_out(&mut cut, [RouteGroup::Admin, RouteGroup::Usage].into_iter().collect());
        assert_eq!(cut.paths.paths.keys().collect::<Vec<_>>(), ["/v1/models"]);
        assert_eq!(cut.components.unwrap().schemas.keys().collect::<Vec<_>>(), ["Model", "Models"]);
        let mut whole = document();
        leave_out(&mut whole, RouteGroups::NONE);
        serve_below(&mut whole, "/gateway");
        assert_eq!((whole.paths.paths.len(), whole.components.unwrap().schemas.len()), (3, 4));
        assert_eq!(whole.servers.unwrap()[0].url, "/gateway");
    }
}
