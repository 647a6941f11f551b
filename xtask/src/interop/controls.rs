//! Whether the servers refuse what they have to: otherwise that they took what the engine sent would prove nothing.

use serde_json::json;

use super::{
    World,
    http::{Message, exchange},
    servers::Client,
};

/// A practice that nobody connects.
const TENANT: &str = "controls";

/// A client that may read patients and nothing else, of a practice of its own.
const NARROW: (&str, &str, &str) = ("narrow", "narrow-secret", "system/Patient.rs");

/// Tries what has to be refused.
pub(super) fn check(world: &mut World) -> Result<(), String> {
    let (id, secret, scope) = NARROW;
    world.register(Client::with_secret(id, "client_secret_basic", secret, scope).of_tenant(TENANT))?;
    let narrow = world.tokens.token(id, secret, scope)?;
    let chart = world.chart(TENANT)?;
    let address = world.helios.address();
    let mut told = Vec::new();
    let mut expect = |what: &str, expected: &str, found: String| {
        println!("    {what}: {found}");
        if found != expected {
            told.push(format!("{what}: {found} instead of {expected}"));
        }
    };

    let get = |path: &str, token: Option<&str>| -> Result<String, String> {
        let mut request = Message::request("GET", path)
            .with("accept", "application/fhir+json")
            .with("prefer", "handling=strict");
        if let Some(token) = token {
            request = request.with("authorization", &format!("Bearer {token}"));
        }
        Ok(exchange(address, &request)?.status().to_string())
    };
    let path = |rest: &str| format!("/{TENANT}/{rest}");
    expect("no token", "401", get(&path("Patient"), None)?);
    expect("a token of nobody", "401", get(&path("Patient"), Some("x.y.z"))?);
    expect("a scope that is granted", "200", get(&path("Patient"), Some(&narrow))?);
    expect("a scope that is not", "403", get(&path("Encounter"), Some(&narrow))?);
    expect(
        "an unknown search parameter, handled strictly",
        "400",
        get(&path("Patient?no-such-parameter=1"), Some(&narrow))?,
    );
    let smart = get("/.well-known/smart-configuration", None)?;
    expect("the SMART configuration, to anybody", "200", smart);

    let broken = json!({ "resourceType": "Composition", "status": "preliminary" });
    let stored = chart.ask("POST", "Composition", Some(&broken))?.status().to_string();
    expect("a Composition without an author", "422", stored);
    let wrong = if chart.validate(&broken)?.is_empty() {
        "valid"
    } else {
        "not valid"
    };
    expect("the same by $validate", "not valid", wrong.to_owned());

    let wrong_secret = world.tokens.token(id, "another", scope);
    expect("a wrong secret", "refused", answer(&wrong_secret).to_owned());
    let wrong_client = world.tokens.token("nobody", secret, scope);
    expect("an unknown client", "refused", answer(&wrong_client).to_owned());
    let wide = world.tokens.token(id, secret, "system/*.cruds");
    let refused = matches!(&wide, Err(said) if said.contains("invalid_scope"));
    expect(
        "a scope of others",
        "refused",
        if refused { "refused" } else { "taken" }.to_owned(),
    );
    // What nobody is granted is left out without a word, so a token is no proof of its scope.
    let wide = world
        .tokens
        .token(id, secret, "system/Patient.rs%20system/Encounter.s")?;
    expect(
        "a scope that the token server left out",
        "403",
        get(&path("Encounter"), Some(&wide))?,
    );
    if told.is_empty() { Ok(()) } else { Err(told.join("\n")) }
}

fn answer(outcome: &Result<String, String>) -> &'static str {
    match outcome {
        Ok(_) => "taken",
        Err(said) if said.contains("invalid_client") => "refused",
        Err(_) => "something else",
    }
}
