// drizzle-kit as the platform runs it: only the schema that it knows, `public`, which is also its default.
export default {
  dialect: "postgresql",
  out: process.env.DRIZZLE_OUT,
  schema: `${process.env.DRIZZLE_OUT}/schema.ts`,
  dbCredentials: { url: process.env.DATABASE_URL },
};
