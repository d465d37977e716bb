// A certified authorization server for the interoperability tests: oidc-provider, with consent given at once.
// Usage: node server.mjs PORT ROTATION(on|off) [CALLBACK,…]. Prints "listening" when it is up.
import { createServer } from "node:http";
import Provider from "oidc-provider";

const [port, rotation, callbacks = "http://127.0.0.1:9/oauth/oidc/callback"] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const secret = "a:b%/+ ~secret-of-the-interop-client";

const client = (id, method) => ({
  client_id: id,
  ...(method === "none" ? {} : { client_secret: secret }),
  token_endpoint_auth_method: method,
  grant_types: ["authorization_code", "refresh_token"],
  redirect_uris: callbacks.split(","),
});

const provider = new Provider(issuer, {
  clients: [
    client("basic", "client_secret_basic"),
    client("post", "client_secret_post"),
    client("public", "none"),
  ],
  features: {
    devInteractions: { enabled: false },
    revocation: { enabled: true },
    introspection: { enabled: true },
  },
  cookies: { keys: ["interop"] },
  claims: { openid: ["sub"], profile: ["name", "preferred_username"] },
  findAccount: (_ctx, sub) => ({
    accountId: sub,
    claims: () => ({ sub, name: `Name of ${sub}`, preferred_username: sub }),
  }),
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: () => true,
  rotateRefreshToken: rotation === "on",
  ttl: { AccessToken: 3600, AuthorizationCode: 60, IdToken: 3600, RefreshToken: 86400, Grant: 86400, Interaction: 600, Session: 600 },
});

async function agree(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (params.login_hint === "nobody") {
    return provider.interactionFinished(request, response, { error: "access_denied" });
  }
  if (prompt.name === "login") {
    return provider.interactionFinished(request, response, { login: { accountId: params.login_hint ?? "ada" } });
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

const handler = provider.callback();
createServer((request, response) => {
  if (request.url.startsWith("/interaction/")) {
    agree(request, response).catch((problem) => {
      response.statusCode = 500;
      response.end(String(problem));
    });
  } else {
    handler(request, response);
  }
}).listen(Number(port), "127.0.0.1", () => console.log("listening"));
