-- How much a key or a team may use; nothing where nothing is limited.
ALTER TABLE keys ADD COLUMN limits TEXT CHECK (json_valid(limits));
ALTER TABLE teams ADD COLUMN limits TEXT CHECK (json_valid(limits));
