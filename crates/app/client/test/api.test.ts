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
