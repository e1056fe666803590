"""All that knows WhatsApp Web's page and the browser it runs in; used by the Client alone."""
