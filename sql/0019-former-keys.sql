-- compat: 2
-- What servers said of their keys before they said something else: the documents that name a key which
-- the present one does not, for those who ask this server as a notary. Written by the federation worker.

create table former_key_documents (
  server text collate "C" not null,
  valid_until_ts bigint not null,       -- as the document says; the newest of a server are kept
  json text collate "C" not null,       -- as the server signed it
  primary key (server, valid_until_ts)
);
