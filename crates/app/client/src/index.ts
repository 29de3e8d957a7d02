// The typed client of the Royal Glow CRM service. Every path, parameter, body and answer is typed by the service's own
// OpenAPI document (`schema.ts` is generated from it by `npm run build`).
import createClient, { type Client, type ClientOptions } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type { components, operations, paths } from "./schema.js";

/** The client: `GET("/api/customers", { params: { query: { q: "weiss" } } })` and the like. */
export type CrmClient = Client<paths, `${string}/${string}`>;

type Schemas = components["schemas"];

/** A line of the directory. */
export type CustomerSummary = Schemas["CustomerSummaryResponse"];
/** A note as it is listed. */
export type ListedNote = Schemas["ListedNoteResponse"];
/** A tag. */
export type Tag = Schemas["TagResponse"];
/** A booking as it is listed. */
export type Booking = Schemas["BookingResponse"];
/** An invoice as it is listed. */
export type Invoice = Schemas["InvoiceResponse"];
/** Everything that a profile page shows. */
export type Overview = Schemas["Success_OverviewResponse"]["data"];

/** What any operation may answer instead of success; `error.code` tells which. */
export type CrmError =
  | Schemas["ValidationError"]
  | Schemas["UnauthenticatedError"]
  | Schemas["ForbiddenError"]
  | Schemas["NotFoundError"]
  | Schemas["MethodNotAllowedError"]
  | Schemas["ConflictError"]
  | Schemas["RequestInProgressError"]
  | Schemas["PreconditionFailedError"]
  | Schemas["IdempotencyKeyReusedError"]
  | Schemas["PayloadTooLargeError"]
  | Schemas["UnsupportedMediaTypeError"]
  | Schemas["RateLimitedError"]
  | Schemas["InternalError"]
  | Schemas["ServiceUnavailableError"];

/**
 * Makes a client. In a browser the session cookie goes along by itself; elsewhere pass it in `headers`.
 *
 * @param options `baseUrl`, and whatever `fetch` takes besides.
 */
export function createCrmClient(options: ClientOptions): CrmClient {
  return createClient<paths>({ credentials: "include", ...options });
}
