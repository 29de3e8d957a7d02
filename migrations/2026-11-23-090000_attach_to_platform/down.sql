-- Nothing is undone: the tables belong to the platform, and which of them this migration made cannot be told afterwards.
SELECT 1;
