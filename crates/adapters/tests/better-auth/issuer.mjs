// Issues real Better Auth sessions into the platform's tables, for tests that hand the cookies to the service.
//
// One JSON command per line on stdin, one JSON answer per line on stdout, in order; ends when stdin ends.
//   {"do":"sign-up","email":…,"password":…,"name":…}
//   {"do":"sign-in","email":…,"password":…,"rememberMe":false?}
//   {"do":"sign-out","cookie":"name=value"}
//   {"do":"get-session","cookie":"name=value"}
// Answer: {"status":200,"setCookie":[raw Set-Cookie values],"body":…}, whatever the status.
//   {"do":"verify-cookies","headers":[the bytes of a Cookie header in base64,…]}
// Answer: {"tokens":[the session token that the library reads and verifies, or null,…]}.
// A command that could not be carried out at all: {"error":…}.
// Optional environment: COOKIE_PREFIX, COOKIE_NAME, USE_SECURE_COOKIES (true/false).
import { createInterface } from "node:readline";
import { betterAuth } from "better-auth";
import { admin } from "better-auth/plugins";
import { createEndpoint } from "better-call";
import pg from "pg";

// stdout carries answers only, and the library logs with console.log.
console.log = console.info = console.debug = console.error;

const env = process.env;
for (const name of ["DATABASE_URL", "BETTER_AUTH_SECRET", "BETTER_AUTH_URL"]) {
  if (!env[name]) {
    console.error(`${name} is not set`);
    process.exit(1);
  }
}

const pool = new pg.Pool({ connectionString: env.DATABASE_URL });
// Without a listener, a database that drops an idle connection ends the process.
pool.on("error", (error) => console.error(error.message));

const timestamps = { createdAt: "created_at", updatedAt: "updated_at" };

// Roles and bans; the test sets both in SQL. The plugin also declares session.impersonatedBy, which the platform's
// table lacks, and the library refuses every request while a declared column is missing. Leaving out that declaration
// keeps the check on for all other columns. No command here impersonates anybody.
const roles = admin({
  defaultRole: "customer",
  schema: { user: { fields: { banReason: "ban_reason", banExpires: "ban_expires" } } },
});

const auth = betterAuth({
  database: pool,
  baseURL: env.BETTER_AUTH_URL,
  secret: env.BETTER_AUTH_SECRET,
  telemetry: { enabled: false },
  rateLimit: { enabled: false },
  emailAndPassword: { enabled: true },
  user: { fields: { ...timestamps, emailVerified: "email_verified" } },
  session: {
    fields: {
      ...timestamps,
      userId: "user_id",
      expiresAt: "expires_at",
      ipAddress: "ip_address",
      userAgent: "user_agent",
    },
  },
  // The library does not know account.issuer; the column is nullable, so its inserts leave it null.
  account: {
    fields: {
      ...timestamps,
      userId: "user_id",
      accountId: "account_id",
      providerId: "provider_id",
      accessToken: "access_token",
      refreshToken: "refresh_token",
      idToken: "id_token",
      accessTokenExpiresAt: "access_token_expires_at",
      refreshTokenExpiresAt: "refresh_token_expires_at",
    },
  },
  verification: { fields: { ...timestamps, expiresAt: "expires_at" } },
  plugins: [{ ...roles, schema: { user: roles.schema.user } }],
  // An unset option must be absent, not false: useSecureCookies then follows the base URL.
  advanced: {
    ...(env.COOKIE_PREFIX && { cookiePrefix: env.COOKIE_PREFIX }),
    ...(env.COOKIE_NAME && { cookies: { session_token: { name: env.COOKIE_NAME } } }),
    ...(env.USE_SECURE_COOKIES && { useSecureCookies: env.USE_SECURE_COOKIES === "true" }),
  },
});

// Through the HTTP handler rather than auth.api, so that cookies are written and read as in production.
async function call(method, path, { body, cookie } = {}) {
  // A request with a cookie is refused unless its Origin is trusted; the base URL's is.
  const headers = new Headers({ origin: new URL(env.BETTER_AUTH_URL).origin });
  if (body) headers.set("content-type", "application/json");
  if (cookie) headers.set("cookie", cookie);
  const url = new URL(`/api/auth${path}`, env.BETTER_AUTH_URL);
  const response = await auth.handler(
    new Request(url, { method, headers, body: body && JSON.stringify(body) }),
  );
  const text = await response.text();
  return {
    status: response.status,
    setCookie: response.headers.getSetCookie(),
    body: text ? JSON.parse(text) : null,
  };
}

// The call by which the library's own endpoint for get-session reads the cookie. better-call makes that endpoint too;
// what better-auth adds to it reads no cookies and doubles the time.
const readToken = createEndpoint("/session-token", { method: "GET", requireHeaders: true }, (ctx) =>
  ctx.getSignedCookie(ctx.context.authCookies.sessionToken.name, ctx.context.secret),
);

async function verifyCookies(headers) {
  const context = await auth.$context;
  const tokens = headers.map(async (header) => {
    // As Node's HTTP parser does: one character for each byte.
    const cookie = Buffer.from(header, "base64").toString("latin1");
    return (await readToken({ headers: new Headers({ cookie }), context })) || null;
  });
  return { tokens: await Promise.all(tokens) };
}

const commands = {
  "sign-up": ({ email, password, name }) =>
    call("POST", "/sign-up/email", { body: { email, password, name } }),
  "sign-in": ({ email, password, rememberMe }) =>
    call("POST", "/sign-in/email", { body: { email, password, rememberMe } }),
  "sign-out": ({ cookie }) => call("POST", "/sign-out", { body: {}, cookie }),
  "get-session": ({ cookie }) => call("GET", "/get-session", { cookie }),
  "verify-cookies": ({ headers }) => verifyCookies(headers),
};

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const command = JSON.parse(line);
    if (!Object.hasOwn(commands, command?.do)) throw new Error(`unknown command: ${command?.do}`);
    answer = await commands[command.do](command);
  } catch (error) {
    answer = { error: String(error?.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await pool.end();
