//! Who tells who somebody is.

use std::{sync::Arc, time::Duration};

use skin_assist_identity::{Provider, Settings};
use skin_assist_transport::{HttpOptions, ReqwestTransport};

use crate::{
    config::{Config, read_secret},
    console::{OpenIdConnectOptions, Role},
    failure::{Failure, Hinted as _, WithHint as _},
};

/// For how long one exchange with the identity provider may take.
const PROVIDER_PATIENCE: Duration = Duration::from_secs(10);

/// Who tells who somebody is, and by what in it people have roles and names; none where none is configured.
pub fn identity_provider(config: &Config) -> Result<Option<OpenIdConnectOptions>, Failure> {
    let section = &config.openid_connect;
    let (Some(console_url), Some(return_url)) = (section.console_address(), section.return_address()) else {
        return Ok(None);
    };
    if !section.is_configured() {
        return Ok(None);
    }
    let client_secret = match section.client_secret_file.as_str() {
        "" => None,
        file => {
            let what = "the client's secret for the identity provider";
            Some(read_secret(&config.path(file), what).hint("openid_connect.client_secret_file names its file")?)
        }
    };
    let options = HttpOptions {
        connect_timeout: PROVIDER_PATIENCE / 2,
        read_timeout: PROVIDER_PATIENCE,
        total_timeout: PROVIDER_PATIENCE,
        // A plain address is taken for this very machine alone, and was configured.
        allow_loopback_http: section.issuer.starts_with("http:"),
        private_ca: config.certificates("openid_connect.ca_file", &section.ca_file)?,
        ..HttpOptions::default()
    };
    let transport = ReqwestTransport::for_api(&options)
        .failed(|| "HTTP cannot be set up".to_owned())
        .hint("check openid_connect.ca_file: it is PEM")?;
    let settings = Settings {
        issuer: section.issuer.clone(),
        client_id: section.client_id.clone(),
        client_secret,
        return_url,
        scopes: section.scopes.clone(),
        claims: vec![section.role_claim.clone(), section.name_claim.clone()],
    };
    let roles = [
        (&section.viewers, Role::Viewer),
        (&section.operators, Role::Operator),
        (&section.admins, Role::Admin),
    ];
    let roles = roles
        .into_iter()
        .flat_map(|(values, role)| values.iter().map(move |value| (value.clone(), role)));
    Ok(Some(OpenIdConnectOptions {
        provider: Provider::new(settings, Arc::new(transport)),
        console_url,
        role_claim: section.role_claim.clone(),
        roles: roles.collect(),
        name_claim: section.name_claim.clone(),
    }))
}
