// The generated client against the running service: what it is typed to answer, it answers. Started by the Rust test
// `client.rs`, which says where the service is (BASE_URL) and who may ask (COOKIE_<ROLE>).
import assert from "node:assert/strict";
import { test } from "node:test";
import { createCrmClient, type CrmClient, type CrmError } from "../src/index.js";

function setting(name: string): string {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
}

function as(role: string): CrmClient {
  return createCrmClient({ baseUrl: setting("BASE_URL"), headers: { cookie: setting(`COOKIE_${role.toUpperCase()}`) } });
}

const desk = as("receptionist");
const manager = as("manager");
const id = "usr_1";

test("the directory is searched, sorted and paged", async () => {
  const query = { q: "ASHA", sort: "name", page: 1, pageSize: 5 } as const;
  const { data, response } = await desk.GET("/api/customers", { params: { query } });
  assert.equal(response.status, 200);
  assert.ok(data);
  assert.equal(data.success, true);
  assert.deepEqual(data.meta, { page: 1, totalPages: 1, totalCount: 1 });
  const customer = data.data.customers[0];
  assert.ok(customer);
  // Each of these is typed; a key that is not there would not compile, or not be equal.
  const { name, phone, totalSpentPaise, gemsBalance, lastVisitAt, tags } = customer;
  assert.deepEqual([name, phone, totalSpentPaise, gemsBalance, lastVisitAt], ["Asha Rao", null, 0, null, null]);
  assert.deepEqual(tags.map((chip) => chip.slug), []);
});

test("a profile is read, and its gates are lifted", async () => {
  const found = await desk.GET("/api/customers/{id}", { params: { path: { id } } });
  assert.equal(found.data?.data.customer.noshowCount, 0);
  const body = { noshowCount: 3, bookingRequiresApproval: true };
  const changed = await manager.PATCH("/api/customers/{id}", { params: { path: { id } }, body });
  assert.equal(changed.data?.data.customer.noshowCount, 3);
  assert.equal(changed.data?.data.customer.userId, id);
  // No body at all changes nothing.
  const same = await manager.PATCH("/api/customers/{id}", { params: { path: { id } } });
  assert.equal(same.data?.data.customer.updatedAt, changed.data?.data.customer.updatedAt);
});

test("a note is written and listed", async () => {
  const content = "  Patch test first. 🌸 ";
  const written = await desk.POST("/api/customers/{id}/notes", { params: { path: { id } }, body: { content } });
  assert.equal(written.response.status, 201);
  const note = written.data?.data.note;
  assert.ok(note);
  assert.equal(note.content, content.trim());
  const listed = await desk.GET("/api/customers/{id}/notes", { params: { path: { id }, query: { pageSize: 1 } } });
  assert.deepEqual(listed.data?.data.notes, [
    { ...note, authorName: "A name", pinned: false, editedAt: null, editedByName: null },
  ]);
});

test("a tag is made, put on a customer and taken off", async () => {
  const made = await manager.POST("/api/tags", { body: { name: "Front Row", color: "#1A2b3C" } });
  const tag = made.data?.data.tag;
  assert.ok(tag);
  assert.deepEqual([tag.slug, tag.color, tag.description], ["front-row", "#1A2b3C", null]);
  const path = { id };
  const assigned = await desk.POST("/api/customers/{id}/tags", { params: { path }, body: { tagId: tag.id } });
  assert.equal(assigned.data?.data.ok, true);
  const seen = await desk.GET("/api/customers", { params: { query: { tag: tag.slug } } });
  assert.deepEqual(seen.data?.data.customers[0]?.tags, [{ slug: "front-row", name: "Front Row", color: "#1A2b3C" }]);
  const removed = await desk.DELETE("/api/customers/{id}/tags/{tagId}", { params: { path: { id, tagId: tag.id } } });
  assert.equal(removed.data?.data.ok, true);
  const tags = await desk.GET("/api/tags");
  assert.ok(tags.data?.data.tags.some(({ id }) => id === tag.id));
  const again = await manager.POST("/api/tags", { body: { name: " front  row " } });
  assert.equal(again.response.status, 409);
});

test("the directory is filtered, and exported", async () => {
  const query = { tagAny: ["front-row", "nothing"], visited: false, spentMax: 0, createdFrom: "2020-01-01" };
  const none = await desk.GET("/api/customers", { params: { query } });
  assert.equal(none.data?.meta.totalCount, 0);
  const wrong = await desk.GET("/api/customers", { params: { query: { spentMin: 2, spentMax: 1 } } });
  assert.ok(wrong.error?.error.code === "VALIDATION_ERROR");
  assert.deepEqual(wrong.error.error.details, { spentMax: ["must not be less than spentMin"] });
  const file = await manager.GET("/api/customers.csv", { params: { query: { q: "asha" } }, parseAs: "text" });
  // A client strips the byte order mark as it decodes.
  assert.equal(file.data?.split("\r\n")[1]?.split(",")[1], "Asha Rao");
});

test("a note is edited under a precondition, pinned, and deleted with its history", async () => {
  const key = { "Idempotency-Key": "3f0a2a0e-0f3b-4f3e-9c65-000000000001" };
  const write = { params: { path: { id }, header: key }, body: { content: "allergic to ammonia" } };
  const written = await desk.POST("/api/customers/{id}/notes", write);
  const again = await desk.POST("/api/customers/{id}/notes", write);
  assert.deepEqual(again.data, written.data);
  assert.equal(again.response.headers.get("idempotent-replayed"), "true");
  const noteId = written.data?.data.note.id ?? "";
  const path = { id, noteId };
  const header = { "If-Match": written.response.headers.get("etag") ?? "" };
  const body = { content: "allergic to ammonia and PPD", pinned: true };
  const edited = await desk.PATCH("/api/customers/{id}/notes/{noteId}", { params: { path, header }, body });
  const { content, pinned, editedByName } = edited.data?.data.note ?? {};
  assert.deepEqual([content, pinned, editedByName], [body.content, true, "A name"]);
  const stale = await desk.PATCH("/api/customers/{id}/notes/{noteId}", { params: { path, header }, body });
  assert.equal(stale.error?.error.code, "PRECONDITION_FAILED");
  const revisions = await manager.GET("/api/customers/{id}/notes/{noteId}/revisions", { params: { path } });
  assert.deepEqual(revisions.data?.data.revisions.map(({ content }) => content), ["allergic to ammonia"]);
  const deleted = await desk.DELETE("/api/customers/{id}/notes/{noteId}", { params: { path } });
  assert.equal(deleted.data?.data.ok, true);
  const timeline = await desk.GET("/api/customers/{id}/timeline", { params: { path: { id }, query: { limit: 3 } } });
  assert.deepEqual(timeline.data?.data.entries.map(({ action, entity }) => `${action} ${entity}`), [
    "delete customer_note",
    "update customer_note",
    "create customer_note",
  ]);
  assert.equal(typeof timeline.data?.meta.nextCursor, "string");
});

test("tags are changed, counted, assigned in bulk, merged and deleted", async () => {
  const made = await manager.POST("/api/tags", { body: { name: "At risk" } });
  const from = made.data?.data.tag.id ?? "";
  const into = (await manager.POST("/api/tags", { body: { name: "Win back" } })).data?.data.tag.id ?? "";
  const body = { name: "Gone for long", color: null, description: "Call them." };
  const changed = await manager.PATCH("/api/tags/{id}", { params: { path: { id: from } }, body });
  assert.deepEqual([changed.data?.data.tag.slug, changed.data?.data.tag.description], ["at-risk", "Call them."]);
  const bulk = { assign: [id, "nobody"], remove: [] };
  const assigned = await desk.POST("/api/tags/{id}/assignments", { params: { path: { id: from } }, body: bulk });
  assert.deepEqual(assigned.data?.data, { assigned: 1, removed: 0, unchanged: 0, notFound: ["nobody"] });
  const inUse = await manager.DELETE("/api/tags/{id}", { params: { path: { id: from } } });
  assert.ok(inUse.error?.error.code === "CONFLICT");
  assert.equal(inUse.error.error.details?.customerCount, 1);
  const merged = await manager.POST("/api/tags/{id}/merge", { params: { path: { id: from } }, body: { into } });
  assert.equal(merged.data?.data.tag.id, into);
  const counted = await desk.GET("/api/tags", { params: { query: { counts: true } } });
  assert.equal(counted.data?.data.tags.find((tag) => tag.id === into)?.customerCount, 1);
  const query = { unassign: true };
  const deleted = await manager.DELETE("/api/tags/{id}", { params: { path: { id: into }, query } });
  assert.equal(deleted.data?.data.ok, true);
});

test("all of a profile page comes in one request, and each list page by page", async () => {
  const path = { id };
  const { data } = await desk.GET("/api/customers/{id}/overview", { params: { path } });
  assert.ok(data);
  const { customer, averageSpendPaise, nextBooking, bookings, invoices, notes, memberships, tags } = data.data;
  assert.deepEqual([customer.id, averageSpendPaise, nextBooking, memberships], [id, null, null, { active: null, past: [] }]);
  assert.ok(bookings && invoices && tags.length > 0);
  const query = { when: "past", status: ["pending", "completed"], pageSize: 1 } as const;
  const listed = await desk.GET("/api/customers/{id}/bookings", { params: { path, query: { ...query, status: [...query.status] } } });
  assert.deepEqual(listed.data?.data.bookings, bookings.items.slice(0, 1));
  assert.equal(listed.data?.meta.totalCount, bookings.totalCount);
  const billed = await desk.GET("/api/customers/{id}/invoices", { params: { path, query: { paymentStatus: ["paid"] } } });
  assert.equal(billed.data?.meta.totalCount, invoices.totalCount);
  const listedNotes = await desk.GET("/api/customers/{id}/notes", { params: { path } });
  assert.deepEqual(listedNotes.data?.data.notes, notes.items);
  const all = await desk.GET("/api/customers/{id}/memberships", { params: { path } });
  assert.deepEqual(all.data?.data, memberships);
  const gems = await desk.GET("/api/customers/{id}/gems", { params: { path } });
  assert.deepEqual(gems.data?.data, { balance: null, transactions: [] });
});

test("an id of any shape is one path segment", async () => {
  for (const odd of ["a/b", "..", "%2F", "ü ?#", "名前"]) {
    const { response, error } = await desk.GET("/api/customers/{id}", { params: { path: { id: odd } } });
    // A client of HTTP takes ".." for the folder above, whatever it is called.
    if (odd !== "..") assert.equal(error?.error.code, "NOT_FOUND", odd);
    assert.equal(response.status, 404, odd);
  }
});

test("errors are told apart by their codes", async () => {
  const codes: CrmError["error"]["code"][] = [];
  const nobody = createCrmClient({ baseUrl: setting("BASE_URL") });
  for (const { error } of [
    await nobody.GET("/api/tags"),
    await as("staff").GET("/api/tags"),
    await desk.GET("/api/customers/{id}", { params: { path: { id: "nobody" } } }),
    // @ts-expect-error: 0 compiles, "soon" does not.
    await desk.GET("/api/customers", { params: { query: { page: "soon" } } }),
  ]) {
    assert.ok(error);
    assert.equal(error.success, false);
    codes.push(error.error.code);
    if (error.error.code === "VALIDATION_ERROR") {
      assert.deepEqual(error.error.details, { page: ["must be an integer"] });
    }
  }
  assert.deepEqual(codes, ["UNAUTHENTICATED", "FORBIDDEN", "NOT_FOUND", "VALIDATION_ERROR"]);
});

test("health is open to anyone", async () => {
  const nobody = createCrmClient({ baseUrl: setting("BASE_URL") });
  const health = await nobody.GET("/api/health");
  assert.equal(health.data?.status, "healthy");
  assert.equal(health.data?.checks["database"]?.status, "pass");
  assert.equal((await nobody.GET("/livez")).data?.status, "pass");
  assert.equal((await nobody.GET("/readyz")).data?.checks["schema"], "pass");
});
