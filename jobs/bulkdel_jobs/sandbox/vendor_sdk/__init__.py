"""What only the vendor's SDKs use: requests signed with HMAC-SHA1, and calls that bulkdel does not make."""
