// Shows the API document with Swagger UI. In a file of its own, because the page allows no script inside it.
const place = document.getElementById("document");
window.ui = SwaggerUIBundle({
  url: place.dataset.url,
  domNode: place,
  deepLinking: true,
  displayRequestDuration: true,
  // Neither document nor address leaves for a service that checks documents.
  validatorUrl: null,
});
