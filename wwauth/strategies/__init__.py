"""The strategies that wwauth brings, named as whatsapp-web.js names them."""
