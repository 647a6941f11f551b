// An OpenID provider of others: npm's `oidc-provider`, with its own pages for signing in, where any name and password will do.
//
//   node provider.mjs SETTINGS.json
//
// The settings: `clients` as OpenID Connect registers them, `groups` by name, and `algorithm` (RS256, PS256, ES256 or EdDSA) that ID
// tokens are signed with. Prints the issuer's URL when it serves. Everything that it refuses, the library refuses.

import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const [kind, options] = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
}[settings.algorithm];
const key = { ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }), use: 'sig', alg: settings.algorithm };

// The issuer's name has the port in it, so the port comes first.
const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    claims: { openid: ['sub'], groups: ['groups'] },
    // No other, so that it is the one that is used.
    clientAuthMethods: settings.clients.map((client) => client.token_endpoint_auth_method),
    clients: settings.clients.map((client) => ({ id_token_signed_response_alg: settings.algorithm, ...client })),
    cookies: { keys: ['not a secret'] },
    enabledJWA: { idTokenSigningAlgValues: [settings.algorithm] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: settings.groups[id] ?? [] }) }),
    jwks: { keys: [key] },
    pkce: { required: () => true },
    scopes: ['openid', 'groups'],
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
