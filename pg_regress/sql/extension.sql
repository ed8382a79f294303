-- The extension as the catalogues show it. The harness has created it already.
SELECT extversion, extrelocatable FROM pg_extension WHERE extname = 'walia';
SELECT version, installed, trusted, superuser FROM pg_available_extension_versions WHERE name = 'walia' ORDER BY version;
